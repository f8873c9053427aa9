//! Sets of pages of guest memory.

use devices::GuestRam;
use ram::PAGE;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// [`PAGE`], as addresses count.
const PAGE_BYTES: u64 = PAGE as u64;

/// Neighbouring pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// Where the first one begins.
    pub start: GuestAddress,
    /// How many.
    pub pages: u64,
}

impl PageRun {
    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        self.pages.saturating_mul(PAGE_BYTES)
    }
}

/// Pages of one region; bit *n* of the words is page *n*.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    start: GuestAddress,
    pages: u64,
    words: Vec<u64>,
}

/// A set of pages of a guest's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSet(Vec<Part>);

impl PageSet {
    /// No page of `ram`.
    pub fn none(ram: &GuestRam) -> Self {
        Self::with(ram, 0)
    }

    /// All pages of `ram`.
    pub fn all(ram: &GuestRam) -> Self {
        Self::with(ram, u64::MAX)
    }

    fn with(ram: &GuestRam, word: u64) -> Self {
        let part = |region: &ram::RamRegion| {
            let pages = region.len().div_ceil(PAGE_BYTES);
            let words = vec![word; usize::try_from(pages.div_ceil(64)).unwrap_or(0)];
            let mut part = Part { start: region.start_addr(), pages, words };
            part.cut();
            part
        };
        Self(ram.iter().map(part).collect())
    }

    /// Adds pages of the region number `region`; bit *n* of `words` is its page *n*.
    pub fn add_words(&mut self, region: usize, words: &[u64]) {
        if let Some(part) = self.0.get_mut(region) {
            part.words.iter_mut().zip(words).for_each(|(to, from)| *to |= from);
            part.cut();
        }
    }

    /// Adds all pages of a set of the same memory.
    pub fn add(&mut self, other: &Self) {
        for (to, from) in self.0.iter_mut().zip(&other.0) {
            to.words.iter_mut().zip(&from.words).for_each(|(to, from)| *to |= from);
        }
    }

    /// Takes all pages of a set of the same memory out.
    pub fn remove(&mut self, other: &Self) {
        for (to, from) in self.0.iter_mut().zip(&other.0) {
            to.words.iter_mut().zip(&from.words).for_each(|(to, from)| *to &= !from);
        }
    }

    /// How many pages are in it.
    pub fn len(&self) -> u64 {
        self.0.iter().flat_map(|part| &part.words).map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().flat_map(|part| &part.words).all(|word| *word == 0)
    }

    /// Whether the page of this address is in it.
    pub fn contains(&self, address: GuestAddress) -> bool {
        self.0.iter().any(|part| {
            let offset = address.0.checked_sub(part.start.0);
            offset.is_some_and(|offset| part.has(offset / PAGE_BYTES))
        })
    }

    /// Its pages in order, neighbours of one region together, at most `most` of them.
    pub fn runs(&self, most: u64) -> impl Iterator<Item = PageRun> {
        self.0.iter().flat_map(move |part| part.runs(most.max(1)))
    }
}

impl Part {
    fn has(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|at| self.words.get(at));
        page < self.pages && word.is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// Clears the bits behind the last page.
    fn cut(&mut self) {
        let spare = self.pages % 64;
        if let (true, Some(last)) = (spare != 0, self.words.last_mut()) {
            *last &= (1 << spare) - 1;
        }
    }

    /// The first page from `from` on that is in the set, or is not.
    fn next(&self, from: u64, wanted: bool) -> u64 {
        let mut page = from;
        while page < self.pages {
            let word =
                usize::try_from(page / 64).ok().and_then(|at| self.words.get(at)).copied().unwrap_or(0);
            let word = if wanted { word } else { !word } >> (page % 64);
            if word != 0 {
                return (page + u64::from(word.trailing_zeros())).min(self.pages);
            }
            page = (page / 64 + 1) * 64;
        }
        self.pages
    }

    fn runs(&self, most: u64) -> impl Iterator<Item = PageRun> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = self.next(at, true);
            if first >= self.pages {
                return None;
            }
            at = self.next(first, false).min(first.saturating_add(most));
            let start = GuestAddress(self.start.0.saturating_add(first * PAGE_BYTES));
            Some(PageRun { start, pages: at - first })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use ram::Ram;

    use super::*;

    fn ram() -> GuestRam {
        let ranges = [(GuestAddress(0), 70 * PAGE), (GuestAddress(1 << 20), 3 * PAGE)];
        Arc::new(Ram::from_ranges(&ranges).unwrap())
    }

    fn run(start: u64, pages: u64) -> PageRun {
        PageRun { start: GuestAddress(start), pages }
    }

    #[test]
    fn runs_end_where_regions_and_words_do_not_matter() {
        let ram = ram();
        let all = PageSet::all(&ram);
        assert_eq!((all.len(), all.is_empty(), PageSet::none(&ram).is_empty()), (73, false, true));
        assert_eq!(all.runs(u64::MAX).collect::<Vec<_>>(), [run(0, 70), run(1 << 20, 3)]);
        let short: Vec<_> = all.runs(64).collect();
        assert_eq!(short, [run(0, 64), run(64 << 12, 6), run(1 << 20, 3)]);
        assert!(all.contains(GuestAddress((1 << 20) + 0x2fff)));
        assert!(!all.contains(GuestAddress((1 << 20) + 0x3000)) && !all.contains(GuestAddress(70 << 12)));
    }

    proptest! {
        #[test]
        fn runs_are_the_pages(words in prop::collection::vec(any::<u64>(), 2), other: u64, most in 1..80u64) {
            let ram = ram();
            let mut set = PageSet::none(&ram);
            set.add_words(0, &words);
            set.add_words(1, &[other]);
            set.add_words(7, &words);
            let mut seen = PageSet::none(&ram);
            let mut count = 0;
            for run in set.runs(most) {
                prop_assert!((1..=most).contains(&run.pages));
                for page in 0..run.pages {
                    let at = run.start.0 + page * PAGE_BYTES;
                    prop_assert!(set.contains(GuestAddress(at)));
                    let (region, page) = if at < 1 << 20 { (0, at >> 12) } else { (1, (at - (1 << 20)) >> 12) };
                    let mut words = [0; 2];
                    words[usize::try_from(page / 64).unwrap()] = 1 << (page % 64);
                    seen.add_words(region, &words);
                    count += 1;
                }
            }
            prop_assert_eq!(count, set.len());
            prop_assert_eq!(&seen, &set);
            seen.remove(&set);
            prop_assert!(seen.is_empty());
            seen.add(&set);
            prop_assert_eq!(seen, set);
        }
    }
}
