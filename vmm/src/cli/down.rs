//! `kubevmm down`: the end of machines that were kept.

use std::os::fd::AsFd;
use std::path::Path;

use super::args::Args;
use super::output::say;
use super::up::host;
use super::{Failure, run};
use crate::fleet::{self, Folder, FolderError, Supervisor, orders};
use crate::pauses::Pauses;
use crate::sys::poll::{self, Interest};
use crate::sys::process::Process;
use crate::sys::signals::Signals;

/// Ends fleets and waits until their last machine has.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let root = run::runtime_root(args);
    let names = match args.words()?.as_slice() {
        [] => vec![the_only_one(&root)?],
        names => names.iter().map(|name| (*name).to_owned()).collect(),
    };
    for name in names {
        end(&root, &name, args.has("force"))?;
        say(&format!("kubevmm: fleet {name} is down\n"));
    }
    Ok(0)
}

fn the_only_one(root: &Path) -> Result<String, Failure> {
    let mut names = fleet::names(root);
    match (names.pop(), names.as_slice()) {
        (Some(name), []) => Ok(name),
        (None, _) => Err(Failure::Usage("no fleet is up".into())),
        (Some(last), others) => Err(Failure::Usage(format!(
            "several fleets are up; name those to end: {}, {last}",
            others.join(", ")
        ))),
    }
}

/// Has a supervisor end its machines, and waits until it has. By force it is told again and again: each signal asks for more than the one
/// before, and two count as one until they are read. Others than this one it may ignore (nohup, background jobs).
fn tell(supervisor: &Process, force: bool) -> Result<(), Failure> {
    let mut pauses = Pauses::CALLS;
    loop {
        match supervisor.signal(libc::SIGTERM) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                return Err(host("the supervisor cannot be told")(error));
            }
            _ => {}
        }
        let failed = host("the supervisor cannot be waited for");
        if !force {
            return poll::wait_until_readable(supervisor).map_err(failed);
        }
        if poll::wait([(&supervisor.as_fd(), Interest::Read)], Some(pauses.next())).map_err(failed)? == [true]
        {
            return Ok(());
        }
    }
}

fn end(root: &Path, name: &str, force: bool) -> Result<(), Failure> {
    let path = fleet::path(root, name)?;
    if !path.is_dir() {
        return Err(FolderError::None(name.to_owned()).into());
    }
    let signals = Signals::block().map_err(host("signals could not be taken over"))?;
    if let Some(process) = fleet::supervisor(&path).and_then(|pid| Process::open(pid).ok()) {
        tell(&process, force)?;
        if !path.is_dir() {
            return Ok(());
        }
        // It was ended by something else before it had ended its machines.
    }
    // Nobody looks after them: then this does, until they have ended.
    let folder = Folder::take(root, name)?;
    let Some(record) = folder.record() else {
        folder.remove();
        return Ok(());
    };
    let failed = || host("the machines cannot be watched");
    // Nobody asks for anything any more.
    let (_, inbox) = orders().map_err(failed())?;
    let mut supervisor =
        Supervisor::new(folder, record.launch, Vec::new(), signals, inbox).map_err(failed())?;
    supervisor.close(force);
    Ok(supervisor.run(|| ())?)
}
