//! What the kernel writes to guest memory for a card whose queues it serves: it notes that itself, while somebody wants to know.

use std::io;
use std::sync::{Arc, Mutex, Weak};

use ::net::{VhostNet, WriteLog};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::NetShared;
use crate::GuestRam;
use crate::lock;

/// The log of all workers of a card.
#[derive(Debug)]
pub(super) struct Noted {
    pairs: Vec<Arc<VhostNet>>,
    log: Mutex<Option<(Arc<WriteLog>, GuestRam)>>,
}

impl Noted {
    pub(super) fn new(pairs: &[Arc<VhostNet>]) -> Self {
        let noted = Self { pairs: pairs.to_vec(), log: Mutex::default() };
        // A machine before this one may have left them noting, which does no harm if it cannot be ended.
        let _ = noted.tell(None);
        noted
    }

    fn tell(&self, log: Option<&Arc<WriteLog>>) -> io::Result<()> {
        self.pairs.iter().try_for_each(|pair| pair.log_to(log.cloned()))
    }

    fn begin(&self, ram: &GuestRam) -> io::Result<()> {
        let mut current = lock(&self.log);
        if current.is_some() {
            return Ok(());
        }
        let end = ram.last_addr().0.saturating_add(1);
        let log = Arc::new(WriteLog::new(end).ok_or(io::ErrorKind::OutOfMemory)?);
        self.tell(Some(&log)).inspect_err(|_| drop(self.tell(None)))?;
        *current = Some((log, ram.clone()));
        Ok(())
    }

    fn end(&self) -> io::Result<()> {
        *lock(&self.log) = None;
        self.tell(None)
    }

    /// Marks the pages that the kernel has written since this was last called.
    pub(super) fn collect(&self) {
        if let Some((log, ram)) = &*lock(&self.log) {
            log.take(|start, len| ram::mark(ram, GuestAddress(start), len));
        }
    }
}

/// A hold on what the kernel notes for a card, for as long as the card is there.
#[derive(Clone, Debug)]
pub struct NotedWrites(Weak<NetShared>);

impl NotedWrites {
    /// None if the kernel does not serve the card.
    pub(super) fn of(card: &Arc<NetShared>) -> Option<Self> {
        card.vhosts.is_some().then(|| Self(Arc::downgrade(card)))
    }

    fn with<T>(&self, ask: impl FnOnce(&Noted) -> T) -> Option<T> {
        let card = self.0.upgrade()?;
        card.vhosts.as_ref().map(|vhosts| ask(vhosts.noted()))
    }

    /// Has the kernel note what it writes to `ram` from now on, which is the card's memory.
    ///
    /// # Errors
    /// The kernel cannot, or there is no memory for its notes.
    pub fn begin(&self, ram: &GuestRam) -> io::Result<()> {
        self.with(|noted| noted.begin(ram)).unwrap_or(Ok(()))
    }

    /// Has it note nothing any more. What it has noted and nobody has collected is forgotten.
    ///
    /// # Errors
    /// What the kernel says. It goes on noting, which costs a little and does no harm.
    pub fn end(&self) -> io::Result<()> {
        self.with(Noted::end).unwrap_or(Ok(()))
    }

    /// Puts [marks](ram::mark) on what the kernel has written since this was last called.
    pub fn collect(&self) {
        self.with(Noted::collect);
    }

    /// Whether there is no such card any more. What was written for it has been marked.
    pub fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}
