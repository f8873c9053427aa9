//! The process of a machine: started here, or found running.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use devices::{chain, say};
use serde::{Deserialize, Serialize};

use super::strategy::End;
use super::{Folder, Key};
use crate::client::Machine;
use crate::open::RuntimeDir;
use crate::sys::lock::Locked;
use crate::sys::process::Process;

/// What tells a process to end, each time more firmly, unless it ignores some. They are of several kinds, for two of one count as one until
/// they are read.
const SIGNALS: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];
/// How long a machine may take to answer that it was asked something. Tests judge by it who waits for whom, on hosts that may be slow.
const ANSWER: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 5 });

/// How machines of a fleet are started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// The manifests.
    pub files: Vec<PathBuf>,
    /// Options of `kubevmm run` that every machine gets.
    pub options: Vec<OsString>,
    /// Root of runtime directories.
    pub runtime: PathBuf,
}

impl Launch {
    /// Whether machines have somewhere to go when their processes are told to end.
    pub(super) fn evicts(&self) -> bool {
        self.options.iter().any(|option| option == "--evict-to")
    }
}

/// A process that runs a machine.
#[derive(Debug)]
pub(super) struct Running {
    process: Process,
    /// Ours to wait for, if this supervisor started it.
    child: Option<Child>,
}

impl Running {
    /// Starts a machine.
    ///
    /// # Errors
    /// There is no room for another process, or its log cannot be opened.
    pub(super) fn start(
        launch: &Launch,
        folder: &Folder,
        key: &Key,
        object: &str,
        starts: u64,
    ) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(folder.log(key))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("run").arg("--name").arg(object).arg("--replica").arg(&key.name);
        command.arg("--runtime-dir").arg(&launch.runtime).args(["--console", "off"]);
        command.arg("--exit-report").arg(folder.exit(key, starts)).args(&launch.options);
        command.arg("--").args(&launch.files);
        // A group of its own, so that Ctrl-C on the supervisor's terminal is the supervisor's alone.
        command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn()?;
        match Process::open(child.id()) {
            Ok(process) => Ok(Self { process, child: Some(child) }),
            Err(error) => {
                // Nobody would look after it.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The process that runs a machine, whoever started it.
    pub(super) fn find(root: &Path, key: &Key) -> Found {
        let lock = RuntimeDir::lock_of(root, &key.namespace, &key.name);
        if !is_held(&lock) {
            return Found::None;
        }
        let pid = fs::read_to_string(&lock).ok().and_then(|text| text.trim().parse().ok());
        let process = pid.and_then(|pid| Process::open(pid).ok());
        match process {
            // The number was this process's all the while: its descriptor was opened while the lock was held.
            Some(process) if is_held(&lock) => Found::Running(Self { process, child: None }),
            _ => Found::Unknown,
        }
    }

    /// Asks the guest to power off; a second time, ends it by force.
    pub(super) fn stop(&self) {
        // One that has ended needs no signal.
        let _ = self.process.signal(libc::SIGTERM);
    }

    /// Asks the guest to power off, whatever else becomes of machines whose processes are told to end.
    pub(super) fn power_off(&self, root: &Path, key: &Key) {
        // The first would have the machine move.
        self.ask_to_stop(root, key, "{}", &SIGNALS[..2]);
    }

    /// Ends the machine by force, whatever it is doing.
    pub(super) fn force(&self, root: &Path, key: &Key) {
        self.ask_to_stop(root, key, r#"{"gracePeriod":0}"#, &SIGNALS);
    }

    /// Has the machine stop as `body` says, or sends these signals where it does not answer.
    fn ask_to_stop(&self, root: &Path, key: &Key, body: &str, signals: &[i32]) {
        let asked = Machine::find(root, &key.namespace, &key.name)
            .and_then(|machine| machine.ask_within("PUT", &machine.vm_subresource("stop"), body, ANSWER));
        if let Err(error) = asked {
            say!("kubevmm: {key} cannot be asked to stop, and is told by signals: {}", chain(&error));
            // One that has ended needs none.
            signals.iter().for_each(|signal| drop(self.process.signal(*signal)));
        }
    }

    /// Kills the process.
    pub(super) fn kill(&self) {
        let _ = self.process.signal(libc::SIGKILL);
    }

    /// Takes notice of its end.
    pub(super) fn reap(mut self) {
        if let Some(child) = &mut self.child {
            // It has ended: this returns at once.
            let _ = child.wait();
        }
    }
}

impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

/// What is known of a machine's process.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing runs the machine.
    None,
    /// This runs it.
    Running(Running),
    /// Something runs it that does not say what it is, not yet perhaps.
    Unknown,
}

/// Whether somebody holds the lock.
fn is_held(lock: &Path) -> bool {
    let Ok(file) = File::open(lock) else { return false };
    matches!(Locked::beside_others(file), Ok(None))
}

/// The part of an exit report that matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExitReport {
    exit_code: u8,
    reason: String,
}

/// How a machine ended, by its exit report. One that left none was killed.
pub(super) fn end(report: &Path) -> End {
    let report = fs::read(report).ok().and_then(|text| serde_json::from_slice::<ExitReport>(&text).ok());
    match report {
        Some(report) if report.reason == "migrated" => End::Moved,
        Some(ExitReport { exit_code: 0, .. }) => End::Succeeded,
        _ => End::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_report_of_success_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("exit.json");
        assert_eq!(end(&report), End::Failed);
        for (text, expected) in [
            (r#"{"reason":"guest-shutdown","exitCode":0}"#, End::Succeeded),
            (r#"{"reason":"migrated","to":"unix:/x","exitCode":0}"#, End::Moved),
            (r#"{"reason":"guest-panic","exitCode":4}"#, End::Failed),
            (r#"{"reason":"gue"#, End::Failed),
        ] {
            fs::write(&report, text).unwrap();
            assert_eq!(end(&report), expected, "{text}");
        }
    }

    #[test]
    fn a_machine_is_found_by_its_lock() {
        let root = tempfile::tempdir().unwrap();
        let key: Key = "default/vm".parse().unwrap();
        assert!(matches!(Running::find(root.path(), &key), Found::None));
        let runtime = RuntimeDir::create(root.path(), "default", "vm").unwrap();
        let Found::Running(running) = Running::find(root.path(), &key) else { panic!() };
        running.process.signal(0).unwrap();
        drop(runtime);
        assert!(matches!(Running::find(root.path(), &key), Found::None));
    }
}
