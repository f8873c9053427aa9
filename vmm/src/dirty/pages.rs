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

/// A set has pages that are not in the memory that it is to be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it names pages that are not in the machine's memory")]
pub struct OutOfMemory;

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

    /// No page of memory that lies in these regions: where each begins, and its bytes.
    pub fn of_regions(regions: impl Iterator<Item = (GuestAddress, u64)>) -> Self {
        let part = |(start, bytes): (GuestAddress, u64)| {
            let pages = bytes.div_ceil(PAGE_BYTES);
            Part { start, pages, words: vec![0; usize::try_from(pages.div_ceil(64)).unwrap_or(0)] }
        };
        Self(regions.map(part).collect())
    }

    /// No page of the same memory.
    pub fn emptied(&self) -> Self {
        let part = |part: &Part| Part { words: vec![0; part.words.len()], ..*part };
        Self(self.0.iter().map(part).collect())
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

    /// Adds all pages of the region number `region`.
    pub(super) fn add_region(&mut self, region: usize) {
        if let Some(part) = self.0.get_mut(region) {
            part.words.fill(u64::MAX);
            part.cut();
        }
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

    /// Adds the pages of `run` that are in the memory.
    pub fn insert(&mut self, run: PageRun) {
        self.0.iter_mut().for_each(|part| part.set(run, true));
    }

    /// Takes the pages of `run` out.
    pub fn take_out(&mut self, run: PageRun) {
        self.0.iter_mut().for_each(|part| part.set(run, false));
    }

    /// Its first pages at `from` or behind it, neighbours of one region, at most `most` of them.
    pub fn first_from(&self, from: GuestAddress, most: u64) -> Option<PageRun> {
        self.first_between(from, u64::MAX, most)
    }

    /// The same of pages that end at `end` or before it: nothing that lies behind is looked at, for sets are large.
    fn first_between(&self, from: GuestAddress, end: u64, most: u64) -> Option<PageRun> {
        self.0.iter().find_map(|part| {
            let page = |address: u64| address.saturating_sub(part.start.0) / PAGE_BYTES;
            part.run_between(page(from.0), page(end), most.max(1))
        })
    }

    /// Its pages that are in `run`, too: neighbours of one region together.
    pub fn within(&self, run: PageRun) -> impl Iterator<Item = PageRun> {
        // A run need not begin where a page begins: what it has of its last one is none.
        let end = run.start.0.saturating_add(run.bytes());
        let mut at = run.start;
        std::iter::from_fn(move || {
            let next = self.first_between(at, end, run.pages)?;
            at = GuestAddress(next.start.0.saturating_add(next.bytes()));
            Some(next)
        })
    }

    /// The set in pieces of `most` words at most, without those that have no page in them: where a piece begins, and its words, of which
    /// bit *n* is page *n* from there.
    pub fn pieces(&self, most: usize) -> impl Iterator<Item = (GuestAddress, &[u64])> {
        self.0.iter().flat_map(move |part| {
            let step = u64::try_from(most.max(1)).unwrap_or(u64::MAX).saturating_mul(64 * PAGE_BYTES);
            let starts = (0..)
                .map(move |number| GuestAddress(part.start.0.saturating_add(step.saturating_mul(number))));
            let pieces = starts.zip(part.words.chunks(most.max(1)));
            pieces.filter(|(_, words)| words.iter().any(|word| *word != 0))
        })
    }

    /// Adds a piece of a set of the same memory.
    ///
    /// # Errors
    /// It has pages that are not in the memory, or does not begin where a word begins.
    pub fn add_piece(&mut self, start: GuestAddress, words: &[u64]) -> Result<(), OutOfMemory> {
        let part = self.0.iter_mut().find(|part| {
            let offset = start.0.checked_sub(part.start.0);
            offset.is_some_and(|offset| offset / PAGE_BYTES < part.pages)
        });
        let part = part.ok_or(OutOfMemory)?;
        let offset = start.0.wrapping_sub(part.start.0);
        if !offset.is_multiple_of(64 * PAGE_BYTES) {
            return Err(OutOfMemory);
        }
        let first = usize::try_from(offset / (64 * PAGE_BYTES)).map_err(|_| OutOfMemory)?;
        let place = first.checked_add(words.len()).and_then(|end| part.words.get_mut(first..end));
        place.ok_or(OutOfMemory)?.iter_mut().zip(words).for_each(|(to, from)| *to |= from);
        if part.cut() { Err(OutOfMemory) } else { Ok(()) }
    }

    /// Whether all pages of a set of the same memory are in this one.
    pub fn contains_all(&self, other: &Self) -> bool {
        let mut pairs = self.0.iter().zip(&other.0);
        pairs.all(|(mine, theirs)| {
            mine.words.iter().zip(&theirs.words).all(|(mine, theirs)| theirs & !mine == 0)
        })
    }

    /// Adds all pages of each block of `block` pages that has one in it, a power of two. Regions begin with a block.
    pub fn make_whole(&mut self, block: u64) {
        if block <= 1 {
            return;
        }
        let starts: Vec<u64> = self.blocks(block).collect();
        starts
            .into_iter()
            .for_each(|start| self.insert(PageRun { start: GuestAddress(start), pages: block }));
    }

    /// Whether each such block has all of its pages in it, or none.
    pub fn has_whole(&self, block: u64) -> bool {
        block <= 1
            || self.blocks(block).all(|start| {
                let run = PageRun { start: GuestAddress(start), pages: block };
                self.within(run).next() == Some(run)
            })
    }

    /// Where the blocks begin that have a page in them.
    fn blocks(&self, block: u64) -> impl Iterator<Item = u64> {
        let bytes = block.max(1).saturating_mul(PAGE_BYTES);
        let mut at = Some(0u64);
        std::iter::from_fn(move || {
            let found = self.first_from(GuestAddress(at?), 1)?.start.0;
            let start = found - found % bytes;
            at = start.checked_add(bytes);
            Some(start)
        })
    }

    /// Its pages in order, neighbours of one region together, but for where a multiple of `most` pages of the region ends.
    pub fn runs(&self, most: u64) -> impl Iterator<Item = PageRun> {
        self.0.iter().flat_map(move |part| part.runs(most.max(1)))
    }
}

impl Part {
    fn has(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|at| self.words.get(at));
        page < self.pages && word.is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// Clears the bits behind the last page; whether there were any.
    fn cut(&mut self) -> bool {
        let spare = self.pages % 64;
        let (true, Some(last)) = (spare != 0, self.words.last_mut()) else { return false };
        let before = std::mem::replace(last, *last & ((1 << spare) - 1));
        before != *last
    }

    /// Puts those of these pages that it could have in, or takes them out.
    fn set(&mut self, run: PageRun, wanted: bool) {
        let end = run.start.0.saturating_add(run.bytes());
        let from = run.start.0.saturating_sub(self.start.0) / PAGE_BYTES;
        let to = (end.saturating_sub(self.start.0) / PAGE_BYTES).min(self.pages);
        let mut page = from;
        while page < to {
            let count = (64 - page % 64).min(to - page);
            let mask = u64::MAX >> (64 - count) << (page % 64);
            if let Some(word) = usize::try_from(page / 64).ok().and_then(|at| self.words.get_mut(at)) {
                *word = if wanted { *word | mask } else { *word & !mask };
            }
            page += count;
        }
    }

    /// The first pages of the set from number `from` on, all before number `end`.
    fn run_between(&self, from: u64, end: u64, most: u64) -> Option<PageRun> {
        let end = end.min(self.pages);
        let first = self.next(from, end, true);
        if first >= end {
            return None;
        }
        let behind = self.next(first, end.min(first.saturating_add(most)), false);
        let start = GuestAddress(self.start.0.saturating_add(first * PAGE_BYTES));
        Some(PageRun { start, pages: behind - first })
    }

    /// The first page from `from` on that is in the set, or is not; `end` if there is none before it.
    fn next(&self, from: u64, end: u64, wanted: bool) -> u64 {
        let mut page = from;
        while page < end {
            let word =
                usize::try_from(page / 64).ok().and_then(|at| self.words.get(at)).copied().unwrap_or(0);
            let word = if wanted { word } else { !word } >> (page % 64);
            if word != 0 {
                return (page + u64::from(word.trailing_zeros())).min(end);
            }
            page = (page / 64 + 1) * 64;
        }
        end
    }

    fn runs(&self, most: u64) -> impl Iterator<Item = PageRun> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let from = self.next(at, self.pages, true);
            let run = self.run_between(from, self.pages, most - from % most)?;
            at = (run.start.0.saturating_sub(self.start.0) / PAGE_BYTES).saturating_add(run.pages);
            Some(run)
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

    #[test]
    fn pages_of_a_run_are_found_put_in_and_taken_out() {
        let ram = ram();
        let mut set = PageSet::none(&ram);
        set.insert(run(0x3000, 66));
        set.insert(run(0x4_6000, u64::MAX >> 12));
        set.take_out(run(0x5000, 1));
        let all: Vec<_> = set.runs(u64::MAX).collect();
        assert_eq!(all, [run(0x3000, 2), run(0x6000, 63), run(1 << 20, 3)]);
        assert_eq!(set.first_from(GuestAddress(0x5fff), 9), Some(run(0x6000, 9)));
        assert_eq!(set.first_from(GuestAddress(0x4_5000), 9), Some(run(1 << 20, 3)));
        assert_eq!(set.first_from(GuestAddress((1 << 20) + 0x3000), 9), None);
        let inside: Vec<_> = set.within(run(0x4000, 3)).collect();
        assert_eq!(inside, [run(0x4000, 1), run(0x6000, 1)]);
        assert_eq!(set.within(run(0x5000, 1)).count(), 0);
        let odd: Vec<_> = set.within(run(0x3001, 1)).chain(set.within(run(0x2001, 2))).collect();
        assert_eq!(odd, [run(0x3000, 1), run(0x3000, 1)], "where no page begins");
    }

    #[test]
    fn what_lies_behind_is_not_looked_at() {
        // Who looks through all of it for each page does not come to an end.
        let mut set = PageSet::of_regions([(GuestAddress(0), 64 << 30)].into_iter());
        for page in 0..1_000_000 {
            assert_eq!(set.within(run(page << 12, 1)).next(), None);
        }
        set.insert(run(0, 16 << 20));
        for page in 0..1_000_000 {
            assert_eq!(set.within(run(page << 12, 1)).next(), Some(run(page << 12, 1)));
            assert_eq!(set.first_from(GuestAddress(page << 12), 9), Some(run(page << 12, 9)));
        }
    }

    #[test]
    fn pieces_of_other_memory_are_refused() {
        let mut set = PageSet::none(&ram());
        for (start, words) in [
            (70 << 12, &[1u64][..]),
            (0x1000, &[1]),
            (0, &[0, 1 << 6]),
            (0, &[0, 0, 0]),
            (1 << 20, &[8]),
            (u64::MAX, &[1]),
        ] {
            assert_eq!(set.add_piece(GuestAddress(start), words), Err(OutOfMemory), "{start:#x}");
        }
        assert!(set.is_empty());
    }

    proptest! {
        #[test]
        fn a_set_comes_out_of_its_pieces(words in prop::collection::vec(any::<u64>(), 2), other: u64, most in 1..3usize) {
            let ram = ram();
            let mut set = PageSet::none(&ram);
            set.add_words(0, &words);
            set.add_words(1, &[other]);
            let mut again = PageSet::none(&ram);
            for (start, words) in set.pieces(most) {
                again.add_piece(start, words).unwrap();
            }
            prop_assert!(set.contains_all(&again) && again.contains_all(&set));
            prop_assert_eq!(again, set);
        }

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
                let first = (run.start.0 % (1 << 20)) >> 12;
                prop_assert_eq!(first / most, (first + run.pages - 1) / most);
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

    #[test]
    fn blocks_become_whole() {
        let mut set = PageSet::of_regions(
            [(GuestAddress(0), 32 << 12), (GuestAddress(64 << 12), 16 << 12)].into_iter(),
        );
        for page in [3, 15, 16, 71] {
            set.insert(PageRun { start: GuestAddress(page << 12), pages: 1 });
        }
        assert!(set.has_whole(1) && !set.has_whole(8));
        set.make_whole(8);
        let runs: Vec<_> = set.runs(u64::MAX).map(|run| (run.start.0 >> 12, run.pages)).collect();
        assert_eq!(runs, [(0, 24), (64, 8)]);
        assert!(set.has_whole(8) && !set.has_whole(16));
    }
}
