//! What the kernel has written to guest memory, as it notes it itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of what has one bit (`VHOST_PAGE_SIZE`).
const PAGE: u64 = 4096;

/// One bit for each page of guest memory, by its address. The kernel sets bits while it writes, with atomic instructions.
#[derive(Debug)]
pub struct WriteLog(Box<[AtomicU64]>);

impl WriteLog {
    /// A log of memory that ends before `end`, an address in the guest. None if this process cannot have as much.
    pub fn new(end: u64) -> Option<Self> {
        let words = usize::try_from(end.div_ceil(PAGE).div_ceil(64)).ok()?;
        let mut log = Vec::new();
        log.try_reserve_exact(words).ok()?;
        log.resize_with(words, AtomicU64::default);
        Some(Self(log.into_boxed_slice()))
    }

    /// Takes all bits, and passes on the pages that they stand for: address in the guest and bytes of neighbours.
    pub fn take(&self, mut written: impl FnMut(u64, u64)) {
        for (first, word) in (0..).step_by(64).zip(&self.0) {
            // Most are empty: looking is cheaper than taking.
            let mut pages = match word.load(Ordering::Relaxed) {
                0 => continue,
                _ => word.swap(0, Ordering::SeqCst),
            };
            let mut page: u64 = first;
            while pages != 0 {
                page += u64::from(pages.trailing_zeros());
                pages >>= pages.trailing_zeros();
                let run = pages.trailing_ones();
                written(page * PAGE, u64::from(run) * PAGE);
                page += u64::from(run);
                pages = pages.checked_shr(run).unwrap_or(0);
            }
        }
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(log: &WriteLog) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        log.take(|address, len| all.push((address / PAGE, len / PAGE)));
        all
    }

    #[test]
    fn runs_of_pages_are_taken_once() {
        let log = WriteLog::new(129 * PAGE - 1).unwrap();
        assert_eq!(log.words().len(), 3);
        // As the kernel sets them: a bit of a byte, by the number of the page.
        let set = |page: u64| {
            let word = &log.words()[usize::try_from(page / 64).unwrap()];
            word.fetch_or(1 << (page % 64), Ordering::SeqCst);
        };
        [0, 5, 6, 7, 63, 64, 128].into_iter().for_each(set);
        assert_eq!(taken(&log), [(0, 1), (5, 3), (63, 1), (64, 1), (128, 1)]);
        assert_eq!(taken(&log), []);
        (64..128).for_each(set);
        assert_eq!(taken(&log), [(64, 64)]);
    }

    #[test]
    fn no_log_is_as_large_as_all_addresses() {
        assert!(WriteLog::new(u64::MAX).is_none());
    }
}
