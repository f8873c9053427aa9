//! Which parts of a disk are written while somebody wants to know, so that a disk can be copied while it is in use.
//!
//! Who copies takes the marks off, then reads what they were on, and does so again until little is left; what is left when nobody
//! writes any more is the rest. A part is marked when a write to it is over, not before: a mark that was set earlier could be
//! taken, and the part be read, before the write has reached the disk. What a copy that is read meanwhile has of the
//! write does not matter, as the mark comes later.

mod disk;
#[cfg(test)]
mod tests;
mod written;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

pub use disk::MarkedDisk;
pub use written::Written;

/// Bytes of a disk that have one mark.
pub const GRAIN: u64 = 64 << 10;

/// The marks of a disk. While nobody wants to know, a write costs a load of one flag.
#[derive(Debug, Default)]
pub struct Marks {
    on: AtomicBool,
    words: RwLock<Box<[AtomicU64]>>,
}

impl Marks {
    /// From now on, what is written to the first `bytes` bytes is marked. Earlier marks are gone.
    pub fn begin(&self, bytes: u64) {
        let words = bytes.div_ceil(GRAIN).div_ceil(u64::from(u64::BITS));
        *self.words.write().unwrap_or_else(PoisonError::into_inner) =
            (0..words).map(|_| AtomicU64::new(0)).collect();
        self.on.store(true, Ordering::SeqCst);
    }

    /// Nobody wants to know any more.
    pub fn end(&self) {
        self.on.store(false, Ordering::SeqCst);
        *self.words.write().unwrap_or_else(PoisonError::into_inner) = Box::default();
    }

    /// Takes all marks off.
    pub fn take(&self) -> Written {
        let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
        // Most words are empty: looking is cheaper than taking.
        let take = |word: &AtomicU64| match word.load(Ordering::Relaxed) {
            0 => 0,
            _ => word.swap(0, Ordering::SeqCst),
        };
        Written::of_words(words.iter().map(take).collect())
    }

    /// A write to this range is over, whatever came of it.
    fn mark(&self, offset: u64, len: u64) {
        if len == 0 || !self.on.load(Ordering::SeqCst) {
            return;
        }
        let last = offset.saturating_add(len - 1) / GRAIN;
        let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
        for grain in offset / GRAIN..=last {
            // What was added to the disk since nobody asks for.
            let Some(word) = usize::try_from(grain / 64).ok().and_then(|at| words.get(at)) else { break };
            word.fetch_or(1 << (grain % 64), Ordering::SeqCst);
        }
    }
}
