//! What becomes of requests that the host cannot carry out.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use vmm_sys_util::eventfd::EventFd;

use super::request::Command;
use crate::lock;

/// What the guest is told when the host fails a request (KubeVirt's `errorPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorPolicy {
    /// The truth.
    #[default]
    Report,
    /// Nothing yet: the request is held back until somebody has it tried again.
    Stop,
    /// That all went well.
    Ignore,
    /// Nothing yet if the host has no space left for a write, else the truth.
    Enospace,
}

/// What to do with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Report,
    Hold,
    Ignore,
}

impl ErrorPolicy {
    pub(super) fn judge(self, command: &Command, error: &io::Error) -> Verdict {
        let full = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
            || matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        match self {
            ErrorPolicy::Report => Verdict::Report,
            ErrorPolicy::Ignore => Verdict::Ignore,
            ErrorPolicy::Stop => Verdict::Hold,
            ErrorPolicy::Enospace if full && !matches!(command, Command::Read { .. }) => Verdict::Hold,
            ErrorPolicy::Enospace => Verdict::Report,
        }
    }
}

/// A request that is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFault {
    /// What was being done, as in "write 4096 bytes at 512".
    pub doing: String,
    /// What the host said.
    pub error: String,
}

impl DiskFault {
    pub(super) fn new(command: &Command, error: &io::Error) -> Self {
        Self { doing: doing(command), error: error.to_string() }
    }
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.error)
    }
}

/// Whom the device tells of requests that it holds back. Called on an I/O thread, which it must not keep waiting.
pub type OnFault = Arc<dyn Fn(DiskFault) + Send + Sync>;

/// Requests that are held back, as far as all queues of a device have to do with them.
pub(super) struct Held {
    on_fault: Option<OnFault>,
    /// Wake the queues that hold some.
    waiting: Mutex<Vec<EventFd>>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("waiting", &lock(&self.waiting).len()).finish_non_exhaustive()
    }
}

impl Held {
    pub(super) fn new(on_fault: Option<OnFault>) -> Self {
        Self { on_fault, waiting: Mutex::default() }
    }

    /// A queue waits to be woken by `fd`.
    pub(super) fn wait(&self, fd: EventFd) {
        lock(&self.waiting).push(fd);
    }

    /// Has all queues try again what they hold.
    pub(super) fn retry(&self) {
        for queue in std::mem::take(&mut *lock(&self.waiting)) {
            // A full counter is a pending wake-up, too.
            let _ = queue.write(1);
        }
    }

    /// Tells whoever wants to know.
    pub(super) fn tell(&self, fault: DiskFault) {
        if let Some(on_fault) = &self.on_fault {
            on_fault(fault);
        }
    }
}

fn doing(command: &Command) -> String {
    match command {
        Command::Read { offset, len } => format!("read {len} bytes at {offset}"),
        Command::Write { offset, len } => format!("write {len} bytes at {offset}"),
        Command::Flush => "flush".into(),
        Command::GetId { .. } => "say its serial number".into(),
        Command::Discard { offset, len } => format!("discard {len} bytes at {offset}"),
        Command::WriteZeroes { offset, len, .. } => format!("zero {len} bytes at {offset}"),
    }
}
