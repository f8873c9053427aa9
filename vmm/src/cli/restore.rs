//! `kubevmm restore`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use devices::chain;
use spec::Manifests;

use super::args::Args;
use super::boot::{Origin, boot};
use super::manifest::{self, Planned};
use super::receive::protection;
use super::refuge::refuge;
use super::{Failure, run};
use crate::machine::PassedTime;
use crate::migration::transport::Route;
use crate::milestone::{Milestone, Milestones};
use crate::open::clean_network;
use crate::snapshot::{
    Checking, Fetched, FetchedFiles, MemoryChoice, RestoreOptions, Restored, restore, unpack,
};
use crate::sys::{fds, heap};

/// Brings the machine back and waits for its end.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let milestones = Arc::new(Milestones::start());
    heap::share();
    fds::make_room();
    let places = run::places(args)?;
    let options = options(args)?;
    // A snapshot may take long to come: until it is here, signals end the process as any other.
    let place = place(args, &options)?;
    let signals = run::signals()?;
    clean_network(&places.runtime).iter().for_each(|left| super::output::say(&format!("kubevmm: {left}\n")));
    let restored = match place {
        Place::Here(directory) => restore(&directory, &options)?,
        Place::Far(fetched) => fetched.restore(&options)?,
    };
    let Restored { plan, object, arrival, awakening, unchecked, fetched } = restored;
    milestones.reach(Milestone::Parsed);
    let mut planned = Planned::saved(plan, object, manifest::networks(args)?)?;
    planned.refuge = refuge(args, &planned.machine(), &Manifests::default())?;
    milestones.reach(Milestone::Planned);
    let (namespace, name) = (planned.plan.namespace.clone(), planned.plan.name.clone());
    let depot = planned.depot(args, places);
    let ended = boot(planned, depot, &milestones, signals, Origin::Snapshot(arrival, awakening, unchecked));
    if ended.outcome.is_ok() || milestones.has_reached(Milestone::FirstInstruction) {
        fetched.into_iter().for_each(FetchedFiles::keep);
    }
    run::told(args, (&namespace, &name), ended, &milestones)
}

/// Where the snapshot is.
enum Place {
    /// In a directory.
    Here(PathBuf),
    /// Its memory is served elsewhere; all else is here.
    Far(Box<Fetched>),
}

/// Where the snapshot is; one that comes on standard input is unpacked before, and one that is served is fetched.
fn place(args: &Args, options: &RestoreOptions) -> Result<Place, Failure> {
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    match (args.words()?.as_slice(), args.path("into")) {
        (["-"], Some(into)) => Ok(Place::Here(unpack(io::stdin().lock(), &into)?)),
        (["-"], None) => usage(
            "say where the stream is to be unpacked, with --into DIR: the machine's memory is read from there for as long as it runs",
        ),
        ([address], Some(into)) if is_address(address) => {
            let is_other = options.memory.is_some_and(|choice| choice != MemoryChoice::Demand);
            if is_other || options.checking != Checking::Never {
                return usage("the memory of a snapshot that is served comes on demand, and is checked");
            }
            let address = address.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
            let route = Route::new(address, &protection(args)?);
            let route = route.map_err(|error| Failure::Usage(chain(&error)))?;
            Ok(Place::Far(Box::new(Fetched::fetch(route, &into)?)))
        }
        ([address], None) if is_address(address) => {
            usage("say where all of the snapshot but its memory is to be kept, with --into DIR")
        }
        (_, Some(_)) => usage(
            "--into is for a snapshot that comes on standard input or is served: restore -, restore ADDRESS",
        ),
        ([directory], None) => Ok(Place::Here(PathBuf::from(directory))),
        _ => usage("give the directory or the address of one snapshot"),
    }
}

fn is_address(text: &str) -> bool {
    ["unix:", "tcp:"].iter().any(|scheme| text.starts_with(scheme))
}

fn options(args: &Args) -> Result<RestoreOptions, Failure> {
    let name = args.text("name")?;
    if let Some(fault) = name.as_deref().and_then(spec::formats::subdomain) {
        return Err(Failure::Usage(format!("--name: it {fault}")));
    }
    let disks = args.pairs("disk")?;
    let new_identity = match (args.has("new-identity"), args.has("same-identity")) {
        (true, true) => {
            return Err(Failure::Usage("--new-identity and --same-identity contradict each other".into()));
        }
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    let mac = |(network, text): (String, String)| match text.parse() {
        Ok(mac) => Ok((network, mac)),
        Err(_) => Err(Failure::Usage(format!("--mac: {text:?} is no hardware address"))),
    };
    Ok(RestoreOptions {
        name,
        new_identity,
        macs: args.pairs("mac")?.into_iter().map(mac).collect::<Result<_, _>>()?,
        disks: disks.into_iter().map(|(name, path)| (name, path.into())).collect(),
        taps: manifest::taps(args)?,
        memory: args.parsed("memory")?.or_else(|| args.has("eager").then_some(MemoryChoice::Eager)),
        checking: match args.text("check")?.as_deref() {
            None => Checking::Never,
            Some("before") => Checking::Before,
            Some("meanwhile") => Checking::Meanwhile,
            Some(other) => {
                return Err(Failure::Usage(format!("--check: {other:?} is neither before nor meanwhile")));
            }
        },
        changed_disks: args.has("changed-disks"),
        paused: args.has("paused"),
        passed: if args.has("guest-sees-time") { PassedTime::Shown } else { PassedTime::Hidden },
        tracks: args.has("track"),
    })
}
