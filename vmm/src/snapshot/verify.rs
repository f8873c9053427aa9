//! Checking memory that is mapped: before a machine goes on, or while it runs already.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::SnapshotError;
use super::directory::Snapshot;
use super::restore::ancestors;
use super::saved::SavedMemory;

/// When mapped memory is compared with its checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checking {
    /// Never.
    #[default]
    Never,
    /// Before the guest goes on.
    Before,
    /// While it runs.
    Meanwhile,
}

/// Mapped memory that nobody has compared with its checksums.
#[derive(Debug)]
pub struct Unchecked(SavedMemory);

/// Memory that is being checked. Dropped, it is not checked any further.
#[derive(Debug)]
pub struct CheckThread {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Unchecked {
    /// The memory that machines of `snapshot` map: that of the first one of its chain.
    pub(super) fn of(snapshot: &Snapshot) -> Result<Self, SnapshotError> {
        let before = ancestors(snapshot)?;
        let first = before.last().unwrap_or(snapshot);
        first.memory().map(Self)
    }

    /// Checks all of it, unless `ends` is set meanwhile.
    pub(super) fn check(&self, ends: &AtomicBool) -> Result<(), SnapshotError> {
        let mut wanted = self.0.index.0.iter().take_while(|_| !ends.load(Ordering::Relaxed));
        wanted.try_for_each(|extent| self.0.check(*extent))
    }

    /// Checks it on a thread of its own; `tell` is told if something is wrong with it.
    ///
    /// # Errors
    /// The host has no thread for it.
    pub fn check_meanwhile(
        self,
        tell: impl FnOnce(SnapshotError) + Send + 'static,
    ) -> std::io::Result<CheckThread> {
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ends);
        let check = move || {
            if let Err(error) = self.check(&seen) {
                tell(error);
            }
        };
        let thread = thread::Builder::new().name("check".into()).stack_size(128 << 10).spawn(check)?;
        Ok(CheckThread { ends, thread: Some(thread) })
    }
}

impl Drop for CheckThread {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has said so.
            let _ = thread.join();
        }
    }
}
