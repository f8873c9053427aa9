//! `kubevmm restore`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::Args;
use super::manifest::{self, Planned};
use super::{Failure, run};
use crate::machine::PassedTime;
use crate::milestone::{Milestone, Milestones};
use crate::open::clean_network;
use crate::snapshot::{RestoreOptions, Restored, restore};
use crate::sys::heap;

/// Brings the machine back and waits for its end.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let milestones = Arc::new(Milestones::start());
    heap::share();
    let places = run::places(args)?;
    let options = options(args)?;
    let directory = match args.words()?.as_slice() {
        [directory] => PathBuf::from(directory),
        _ => return Err(Failure::Usage("give the directory of one snapshot".into())),
    };
    let signals = run::signals()?;
    clean_network(&places.runtime).iter().for_each(|left| super::output::say(&format!("kubevmm: {left}\n")));
    let Restored { plan, object, arrival } = restore(Path::new(&directory), &options)?;
    milestones.reach(Milestone::Parsed);
    let planned = Planned::saved(plan, object)?;
    milestones.reach(Milestone::Planned);
    let (namespace, name) = (planned.plan.namespace.clone(), planned.plan.name.clone());
    let depot = planned.depot(args, places);
    let ended = run::boot(planned, depot, &milestones, signals, run::Origin::Arrival(arrival));
    run::told(args, (&namespace, &name), ended, &milestones)
}

fn options(args: &Args) -> Result<RestoreOptions, Failure> {
    let name = args.text("name")?;
    if let Some(fault) = name.as_deref().and_then(spec::formats::subdomain) {
        return Err(Failure::Usage(format!("--name: it {fault}")));
    }
    let disks = args.pairs("disk")?;
    Ok(RestoreOptions {
        name,
        disks: disks.into_iter().map(|(name, path)| (name, path.into())).collect(),
        taps: manifest::taps(args)?,
        eager: args.has("eager"),
        changed_disks: args.has("changed-disks"),
        paused: args.has("paused"),
        passed: if args.has("guest-sees-time") { PassedTime::Shown } else { PassedTime::Hidden },
        tracks: args.has("track"),
    })
}
