//! Answers on their way to the guest.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// More answers do not wait: who asks that often and does not listen loses the oldest.
const MOST: usize = 32;

/// A queue that costs one look while it is empty.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: AtomicBool,
    frames: Mutex<VecDeque<Vec<u8>>>,
    lost: AtomicU64,
}

impl Outbox {
    pub(super) fn put(&self, frame: Vec<u8>) {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if frames.len() >= MOST {
            frames.pop_front();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        frames.push_back(frame);
        self.waiting.store(true, Ordering::Release);
    }

    pub(super) fn take(&self) -> Option<Vec<u8>> {
        if !self.waiting.load(Ordering::Acquire) {
            return None;
        }
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = frames.pop_front();
        self.waiting.store(!frames.is_empty(), Ordering::Release);
        frame
    }

    /// Answers that did not arrive.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_answers_wait_in_order() {
        let outbox = Outbox::default();
        assert_eq!(outbox.take(), None);
        (0..40).for_each(|number| outbox.put(vec![number]));
        let taken = std::iter::from_fn(|| outbox.take()).flatten().collect::<Vec<_>>();
        assert_eq!(taken, (8..40).collect::<Vec<_>>());
        assert_eq!((outbox.take(), outbox.lost()), (None, 8));
    }
}
