//! Which I/O threads serve a device's queues.

use crate::io_thread::IoHandle;

/// At least one I/O thread; a device's queues take turns over them.
#[derive(Clone, Debug)]
pub struct Threads {
    first: IoHandle,
    others: Vec<IoHandle>,
}

impl Threads {
    /// `first` and `others`.
    pub fn new(first: IoHandle, others: Vec<IoHandle>) -> Self {
        Self { first, others }
    }

    /// The first of them.
    pub fn first(&self) -> IoHandle {
        self.first.clone()
    }

    /// The thread of the device's `index`-th queue, or pair of queues.
    pub(crate) fn of(&self, index: u16) -> &IoHandle {
        let turn = usize::from(index).checked_rem(self.others.len() + 1).unwrap_or(0);
        turn.checked_sub(1).and_then(|other| self.others.get(other)).unwrap_or(&self.first)
    }
}

impl From<IoHandle> for Threads {
    fn from(only: IoHandle) -> Self {
        Self::new(only, Vec::new())
    }
}
