//! Which pages have not come yet, and which of them are waited for.

use ram::PAGE;
use vm_memory::GuestAddress;

use crate::dirty::{PageRun, PageSet};

/// What to do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Ask for what it lacks.
    Ask,
    /// It was asked for already.
    Wait,
    /// It is to be zero: it never was anything else, or was dropped here.
    Zero,
}

/// Pages that have not come yet.
#[derive(Debug)]
pub(super) struct Lacking {
    left: PageSet,
    /// Those of them that somebody waits for.
    waited: PageSet,
    count: u64,
    /// Pages that are put in place together.
    unit: u64,
}

impl Lacking {
    /// `unit` pages are put in place together.
    pub(super) fn new(left: PageSet, unit: u64) -> Self {
        Self { waited: left.emptied(), count: left.len(), left, unit: unit.max(1) }
    }

    /// The pages that are put in place together with the one at `page`.
    pub(super) fn unit(&self, page: GuestAddress) -> PageRun {
        let run = PageRun { start: page, pages: self.unit };
        PageRun { start: GuestAddress(page.0 - page.0 % run.bytes()), ..run }
    }

    /// How many of these pages have not come.
    pub(super) fn left_in(&self, run: PageRun) -> u64 {
        self.left.within(run).map(|run| run.pages).sum()
    }

    /// How many pages have not come.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// Those that have not come.
    pub(super) fn pages(&self) -> &PageSet {
        &self.left
    }

    /// Somebody touches the page at `page`. What is to be asked for is added to `wanted`.
    pub(super) fn fault(&mut self, page: GuestAddress, wanted: &mut Vec<u64>) -> Fault {
        let (mut fault, unit) = (Fault::Zero, self.unit(page));
        for run in self.left.within(unit) {
            if fault == Fault::Zero {
                fault = Fault::Wait;
            }
            for number in 0..run.pages {
                let page = GuestAddress(run.start.0.saturating_add(number * PAGE as u64));
                if !self.waited.contains(page) {
                    self.waited.insert(PageRun { start: page, pages: 1 });
                    wanted.push(page.0);
                    fault = Fault::Ask;
                }
            }
        }
        fault
    }

    /// Somebody is about to touch all of `run`: what is to be asked for.
    pub(super) fn faults(&mut self, run: PageRun) -> Vec<u64> {
        let end = run.start.0.saturating_add(run.bytes());
        let (mut rest, mut wanted) = (run, Vec::new());
        while let Some(next) = self.first_of(rest) {
            self.fault(next.start, &mut wanted);
            let unit = self.unit(next.start);
            let behind = unit.start.0.saturating_add(unit.bytes()).min(end);
            rest = PageRun { start: GuestAddress(behind), pages: (end - behind) / PAGE as u64 };
        }
        wanted
    }

    /// The first pages of `run` that have not come.
    pub(super) fn first_of(&self, run: PageRun) -> Option<PageRun> {
        self.left.within(run).next()
    }

    /// These have come, or are not wanted any more.
    pub(super) fn take_out(&mut self, run: PageRun) {
        self.count = self.count.saturating_sub(self.left_in(run));
        self.left.take_out(run);
        self.waited.take_out(run);
    }

    /// Whether somebody waits for a page.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waited.is_empty()
    }

    /// Addresses of pages that are waited for.
    pub(super) fn waited(&self) -> Vec<u64> {
        self.waited.runs(1).map(|run| run.start.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(page: u64, pages: u64) -> PageRun {
        PageRun { start: GuestAddress(page << 12), pages }
    }

    #[test]
    fn a_page_is_asked_for_once_and_one_that_was_dropped_never() {
        let mut left = PageSet::of_regions([(GuestAddress(0), 64 << 12)].into_iter());
        left.insert(run(0, 32));
        let mut lacking = Lacking::new(left, 1);
        let mut wanted = Vec::new();
        let mut fault =
            |lacking: &mut Lacking, page: u64| lacking.fault(GuestAddress(page << 12), &mut wanted);
        assert_eq!(fault(&mut lacking, 1), Fault::Ask);
        assert_eq!(fault(&mut lacking, 1), Fault::Wait);
        assert_eq!(fault(&mut lacking, 2), Fault::Ask);
        assert_eq!(fault(&mut lacking, 32), Fault::Zero);
        assert_eq!(lacking.waited(), [0x1000, 0x2000]);
        lacking.take_out(run(0, 2));
        assert_eq!((lacking.len(), lacking.waited()), (30, vec![0x2000]));
        lacking.take_out(run(0, 3));
        assert_eq!((lacking.len(), fault(&mut lacking, 2)), (29, Fault::Zero));
        assert_eq!(lacking.first_of(run(0, 5)), Some(run(3, 2)));
        lacking.take_out(run(0, u64::MAX >> 12));
        assert_eq!((lacking.len(), lacking.first_of(run(0, 64))), (0, None));
        assert_eq!(wanted, [0x1000, 0x2000]);
    }

    #[test]
    fn what_comes_together_is_asked_for_together() {
        let mut left = PageSet::of_regions([(GuestAddress(0), 64 << 12)].into_iter());
        left.insert(run(9, 2));
        left.insert(run(14, 4));
        let (mut lacking, mut wanted) = (Lacking::new(left, 8), Vec::new());
        assert_eq!(lacking.unit(GuestAddress(13 << 12)), run(8, 8));
        assert_eq!(
            lacking.fault(GuestAddress(13 << 12), &mut wanted),
            Fault::Ask,
            "nothing is missing there alone"
        );
        assert_eq!(wanted, [9 << 12, 10 << 12, 14 << 12, 15 << 12]);
        assert_eq!(lacking.fault(GuestAddress(8 << 12), &mut wanted), Fault::Wait);
        assert_eq!(lacking.fault(GuestAddress(0), &mut wanted), Fault::Zero);
        assert_eq!((wanted.len(), lacking.left_in(run(8, 8)), lacking.len()), (4, 4, 6));
    }

    #[test]
    fn all_that_is_about_to_be_touched_is_asked_for_in_one_go() {
        let mut left = PageSet::of_regions([(GuestAddress(0), 64 << 12)].into_iter());
        left.insert(run(2, 8));
        left.insert(run(20, 2));
        let pages = |wanted: Vec<u64>| wanted.into_iter().map(|page| page >> 12).collect::<Vec<_>>();
        let mut single = Lacking::new(left.clone(), 1);
        single.fault(GuestAddress(4 << 12), &mut Vec::new());
        assert_eq!(pages(single.faults(run(3, 18))), [3, 5, 6, 7, 8, 9, 20]);
        assert_eq!(pages(single.faults(run(0, 64))), [2, 21]);
        assert_eq!(pages(single.faults(run(0, 64))), [0; 0]);
        assert_eq!(pages(Lacking::new(left, 8).faults(run(5, 4))), [2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
