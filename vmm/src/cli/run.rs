//! `kubevmm run`.

use std::path::PathBuf;
use std::sync::Arc;

use devices::chain;

use super::args::Args;
use super::boot::{Ended, Origin, boot};
use super::output::say;
use super::receive::Wanted;
use super::{Failure, manifest, surroundings};
use crate::milestone::{Milestone, Milestones};
use crate::open::{Places, RuntimeDir, clean_network};
use crate::state::{ExitReason, Outcome, write_report};
use crate::sys::signals::Signals;
use crate::sys::{fds, heap, kick};

/// Boots the machine and waits for its end.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    start(args, None)
}

/// The same of a machine that comes from elsewhere, by way of `listen`.
pub(super) fn start(args: &Args, listen: Option<Wanted>) -> Result<u8, Failure> {
    let milestones = Arc::new(Milestones::start());
    heap::share();
    fds::make_room();
    let places = places(args)?;
    // Before anything is opened, so that a signal in between ends the machine as at any other time.
    let signals = signals()?;

    let planned = manifest::plan(args, |machine| {
        milestones.reach(Milestone::Parsed);
        for left in clean_network(&places.runtime) {
            say(&format!("kubevmm: {left}\n"));
        }
        surroundings::gather(machine)
    })?;
    milestones.reach(Milestone::Planned);
    let (namespace, name) = (planned.plan.namespace.clone(), planned.plan.name.clone());
    let depot = planned.depot(args, places);
    let origin = listen.map_or(Origin::PowerOn, Origin::Stream);
    let ended = boot(planned, depot, &milestones, signals, origin);
    told(args, (&namespace, &name), ended, &milestones)
}

/// Takes signals over: those to this process, and those to vCPUs.
pub(super) fn signals() -> Result<Signals, Failure> {
    let what = "signals could not be taken over";
    let signals = Signals::block().map_err(|source| Failure::Host { what, source })?;
    kick::install().map_err(|error| Failure::Host { what, source: error.into() })?;
    Ok(signals)
}

/// Tells how a machine ended; only then may another process have its runtime directory.
pub(super) fn told(
    args: &Args,
    (namespace, name): (&str, &str),
    Ended { outcome: ended, mut runtime }: Ended,
    milestones: &Milestones,
) -> Result<u8, Failure> {
    if args.has("timings") {
        say(&milestones.table());
    }
    if let Ok(outcome) = &ended {
        say(&format!("kubevmm: {namespace}/{name}: {}\n", outcome.reason.describe()));
    }
    let mut is_told = true;
    if let Some(path) = args.path("exit-report") {
        let failed = |failure: &Failure| Outcome::failed(chain(failure));
        let outcome = ended.as_ref().map_or_else(failed, Outcome::clone);
        if let Err(error) = write_report(&path, (namespace, name), &outcome, milestones) {
            say(&format!("kubevmm: the exit report {} could not be written: {error}\n", path.display()));
            is_told = false;
        }
    }
    if is_told && ended.as_ref().is_ok_and(|outcome| matches!(outcome.reason, ExitReason::Migrated { .. })) {
        runtime.iter_mut().for_each(RuntimeDir::move_is_told);
    }
    drop(runtime);
    Ok(ended?.reason.exit_code())
}

pub(super) fn places(args: &Args) -> Result<Places, Failure> {
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    Ok(Places {
        images: args.path("images"),
        cache: cache.unwrap_or_else(|| "/var/cache".into()).join("kubevmm"),
        runtime: runtime_root(args),
        console: args.parsed("console")?.unwrap_or_default(),
        console_log: args.path("console-log"),
        leave_nothing: args.has("rm"),
        agent_socket: args.has("agent-socket"),
        agent: None,
        lock_later: false,
    })
}

/// Where the runtime directories of machines are.
pub(super) fn runtime_root(args: &Args) -> PathBuf {
    let place = || variable("XDG_RUNTIME_DIR").unwrap_or_else(|| "/run".into()).join("kubevmm");
    args.path("runtime-dir").unwrap_or_else(place)
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs::{self, File};
    use std::path::Path;
    use std::process::Command;
    use std::time::Duration;
    use std::{io, thread};

    use super::*;
    use crate::cli::commands::find;
    use crate::migration::record::{Owner, RECORD_FILE, Record, Records};
    use crate::migration::wire::Session;

    /// A machine with this runtime root that has moved, and where its report goes.
    fn moved(root: &Path, report: &Path) -> (Args, Ended) {
        let runtime = RuntimeDir::create(root, "default", "vm").unwrap();
        let record =
            Record { session: Session::new([1; 16]), owner: Owner::Gone, peer: "unix:/there".into() };
        Records::new(runtime.path()).write(&record).unwrap();
        let arguments = [OsString::from("--exit-report"), report.into()];
        let outcome = Outcome { reason: ExitReason::Migrated { to: "unix:/there".into() }, reboots: 0 };
        let args = Args::parse(find("run").unwrap(), &arguments).unwrap();
        (args, Ended { outcome: Ok(outcome), runtime: Some(runtime) })
    }

    #[test]
    fn that_a_machine_has_moved_is_forgotten_only_once_its_report_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (root, report) = (folder.path().join("run"), folder.path().join("report"));
        let (args, ended) = moved(&root, &report);
        // Whoever writes into a pipe waits for a reader to open it, which looks around before.
        let pipe = folder.path().join("report.partial");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let seen = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                thread::sleep(Duration::from_millis(300));
                let seen = (
                    root.join("default/vm").join(RECORD_FILE).exists(),
                    RuntimeDir::create(&root, "default", "vm").is_ok(),
                );
                (seen, io::read_to_string(&mut File::open(&pipe).unwrap()).unwrap())
            });
            told(&args, ("default", "vm"), ended, &Milestones::start()).unwrap();
            reader.join().unwrap()
        });
        assert_eq!(seen.0, (true, false), "there is a record, and nobody else has the directory");
        assert!(seen.1.contains("unix:/there"), "{}", seen.1);
        assert!(!root.join("default/vm").join(RECORD_FILE).exists());
        assert!(RuntimeDir::create(&root, "default", "vm").is_ok());
    }

    #[test]
    fn a_machine_whose_report_cannot_be_written_is_not_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let (args, ended) = moved(&root, &folder.path().join("missing/report"));
        told(&args, ("default", "vm"), ended, &Milestones::start()).unwrap();
        assert!(fs::exists(root.join("default/vm").join(RECORD_FILE)).unwrap());
        assert!(RuntimeDir::create(&root, "default", "vm").is_err());
    }
}
