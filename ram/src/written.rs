//! Marks on pages, set by whoever writes to them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vm_memory::bitmap::{Bitmap, NewBitmap, RefSlice, WithBitmapSlice};

/// Bytes of what has one mark: the page by which KVM counts.
pub const PAGE: usize = 4096;

/// One mark for each page of a region. The memory for marks is made when they are first wanted.
#[derive(Debug, Default)]
pub struct WrittenPages {
    on: AtomicBool,
    pages: usize,
    words: OnceLock<Box<[AtomicU64]>>,
}

impl WrittenPages {
    /// Has pages marked from now on, or no longer.
    pub fn log(&self, on: bool) {
        if on {
            self.words.get_or_init(|| (0..self.pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect());
        }
        self.on.store(on, Ordering::SeqCst);
    }

    /// Whether pages are marked.
    pub fn is_logging(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Takes all marks off; bit *n* of the words was page *n*'s.
    pub fn take(&self) -> Vec<u64> {
        let Some(words) = self.words.get() else { return vec![0; self.pages.div_ceil(64)] };
        // Most words are empty: looking is cheaper than taking.
        let take = |word: &AtomicU64| match word.load(Ordering::Relaxed) {
            0 => 0,
            _ => word.swap(0, Ordering::SeqCst),
        };
        words.iter().map(take).collect()
    }

    fn mark(&self, offset: usize, len: usize) {
        let Some(last) = len.checked_sub(1).map(|more| offset.saturating_add(more) / PAGE) else { return };
        let Some(words) = self.words.get() else { return };
        for page in offset / PAGE..=last.min(self.pages.saturating_sub(1)) {
            if let Some(word) = words.get(page / 64) {
                // A full barrier: what was written is visible to whoever takes the mark.
                word.fetch_or(1 << (page % 64), Ordering::SeqCst);
            }
        }
    }
}

impl<'a> WithBitmapSlice<'a> for WrittenPages {
    type S = RefSlice<'a, Self>;
}

impl Bitmap for WrittenPages {
    #[inline]
    fn mark_dirty(&self, offset: usize, len: usize) {
        if self.is_logging() {
            self.mark(offset, len);
        }
    }

    fn dirty_at(&self, offset: usize) -> bool {
        let page = offset / PAGE;
        let word = self.words.get().and_then(|words| words.get(page / 64));
        word.is_some_and(|word| word.load(Ordering::Acquire) & 1 << (page % 64) != 0)
    }

    fn slice_at(&self, offset: usize) -> RefSlice<'_, Self> {
        RefSlice::new(self, offset)
    }
}

impl NewBitmap for WrittenPages {
    fn with_len(len: usize) -> Self {
        Self { pages: len.div_ceil(PAGE), ..Self::default() }
    }
}
