//! One bit per cluster, set once and never cleared, readable without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

const WORD: u64 = u64::BITS as u64;

#[derive(Debug)]
pub(super) struct Bitmap(Box<[AtomicU64]>);

impl Bitmap {
    pub(super) fn new(bits: u64) -> Bitmap {
        Bitmap((0..bits.div_ceil(WORD)).map(|_| AtomicU64::new(0)).collect())
    }

    fn word(&self, bit: u64) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(bit / WORD).ok()?)
    }

    /// Whoever sees the bit set sees what was written before it was.
    pub(super) fn get(&self, bit: u64) -> bool {
        self.word(bit).is_some_and(|word| word.load(Ordering::Acquire) & (1 << (bit % WORD)) != 0)
    }

    pub(super) fn set(&self, bit: u64) {
        if let Some(word) = self.word(bit) {
            word.fetch_or(1 << (bit % WORD), Ordering::Release);
        }
    }

    /// How many clusters from `first` on, at most `max`, are in the same state as it.
    pub(super) fn run(&self, first: u64, max: u64) -> (bool, u64) {
        let state = self.get(first);
        let same = (1..max).take_while(|&next| self.get(first.saturating_add(next)) == state);
        (state, 1 + same.count() as u64)
    }
}
