//! Requests that take several operations: one completion when the last of them is done.

use std::io;

use crate::disk::Completion;
use crate::engine::Engine;

#[derive(Debug)]
struct Pending {
    token: u64,
    bytes: u32,
    /// Operations not done yet, and one more while the request is still being taken apart.
    left: u32,
    error: Option<io::Error>,
}

/// The requests of one queue that are under way.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    slots: Vec<Option<Pending>>,
    free: Vec<usize>,
}

/// Names a request under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingId(usize);

impl PendingId {
    /// As the `user` value of an engine's operation.
    pub(crate) fn user(self) -> u64 {
        self.0 as u64
    }

    /// Back from [`PendingId::user`].
    fn from_user(user: u64) -> PendingId {
        PendingId(usize::try_from(user).unwrap_or(usize::MAX))
    }
}

impl Gather {
    /// Starts a request. It ends when [`Gather::done`] has been called once more than [`Gather::add`].
    pub(crate) fn begin(&mut self, token: u64, bytes: u32) -> PendingId {
        let pending = Some(Pending { token, bytes, left: 1, error: None });
        match self.free.pop() {
            Some(index) if index < self.slots.len() => {
                if let Some(slot) = self.slots.get_mut(index) {
                    *slot = pending;
                }
                PendingId(index)
            }
            _ => {
                self.slots.push(pending);
                PendingId(self.slots.len() - 1)
            }
        }
    }

    /// One more operation belongs to the request.
    pub(crate) fn add(&mut self, id: PendingId) {
        if let Some(Some(pending)) = self.slots.get_mut(id.0) {
            pending.left = pending.left.saturating_add(1);
        }
    }

    /// The request has been taken apart, with this result. Whether all of its operations are done
    /// already: then one more [`Gather::done`] ends it.
    pub(crate) fn settle(&mut self, id: PendingId, result: io::Result<()>) -> bool {
        let Some(Some(pending)) = self.slots.get_mut(id.0) else { return false };
        if let Err(error) = result {
            pending.error.get_or_insert(error);
        }
        if pending.left > 1 {
            pending.left -= 1;
            return false;
        }
        true
    }

    /// One operation is done; the first error is the request's.
    fn done(&mut self, id: PendingId, result: io::Result<()>) -> Option<Completion> {
        let slot = self.slots.get_mut(id.0)?;
        let pending = slot.as_mut()?;
        if let Err(error) = result {
            pending.error.get_or_insert(error);
        }
        pending.left = pending.left.saturating_sub(1);
        if pending.left > 0 {
            return None;
        }
        let pending = slot.take()?;
        self.free.push(id.0);
        let result = pending.error.map_or(Ok(pending.bytes), Err);
        Some(Completion { token: pending.token, result })
    }

    /// The next request that is done, by the operations that `engine` has done.
    pub(crate) fn next(&mut self, engine: &mut Engine) -> Option<Completion> {
        loop {
            let done = engine.next()?;
            if let Some(completion) = self.done(PendingId::from_user(done.user), done.result) {
                return Some(completion);
            }
        }
    }

    /// Requests under way.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
