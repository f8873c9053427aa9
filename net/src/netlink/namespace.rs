//! Network namespaces. A thread is in one; only a thread of its own is moved into another.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};

use super::sys;

const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace, kept alive by being open.
#[derive(Debug)]
pub struct Namespace(File);

/// Which namespace it is, as long as it exists; another may have the same number after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceId {
    device: u64,
    inode: u64,
}

impl Namespace {
    /// That of the calling thread.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn current() -> io::Result<Self> {
        Self::open(OWN.as_ref())
    }

    /// That which `path` names: `/proc/PID/ns/net`, or a file of `ip netns`.
    ///
    /// # Errors
    /// There is no such file.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    /// A new one, with nothing in it but a loopback interface that is switched off.
    ///
    /// # Errors
    /// The process may not make any.
    pub fn create() -> io::Result<Self> {
        apart(|| sys::unshare().and_then(|()| Self::current()))?
    }

    /// Runs `task` in this namespace, on a thread of its own, and waits for it.
    ///
    /// # Errors
    /// No thread can be started, or the process may not enter the namespace.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> io::Result<T> {
        apart(|| sys::enter(self.0.as_fd()).map(|()| task()))?
    }

    /// Which one it is.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn id(&self) -> io::Result<NamespaceId> {
        let meta = self.0.metadata()?;
        Ok(NamespaceId { device: meta.dev(), inode: meta.ino() })
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Runs `task` on a thread that ends with it. A panic of the task goes on in the caller.
fn apart<T: Send>(task: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("namespace".into()).spawn_scoped(scope, task)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
