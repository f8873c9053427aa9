//! Huge pages of which only some pages have come: they are put in place when all have.

use ram::PAGE;
use vm_memory::GuestAddress;

use crate::dirty::PageRun;

/// More than these are not begun before the first ones are whole: they take memory twice.
const MOST: usize = 32;

/// What has come of a huge page.
#[derive(Debug)]
struct Part {
    start: GuestAddress,
    /// All of it; zeroes where nothing has come, or is to come.
    bytes: Vec<u8>,
    /// Which pages have come, by number.
    come: Vec<bool>,
}

/// All that are not whole, in the order in which they were begun.
#[derive(Debug, Default)]
pub(super) struct Parts(Vec<Part>);

impl Parts {
    /// Takes in pages of the huge page `unit`; `None` are zeroes. How many of it have come.
    pub(super) fn put(&mut self, unit: PageRun, run: PageRun, bytes: Option<&[u8]>) -> u64 {
        let part = match self.0.iter().position(|part| part.start == unit.start) {
            Some(at) => self.0.get_mut(at),
            None => {
                let pages = usize::try_from(unit.pages).unwrap_or(0);
                let (bytes, come) = (vec![0; pages.saturating_mul(PAGE)], vec![false; pages]);
                self.0.push(Part { start: unit.start, bytes, come });
                self.0.last_mut()
            }
        };
        let Some(part) = part else { return 0 };
        let first = usize::try_from(run.start.0.saturating_sub(unit.start.0)).unwrap_or(usize::MAX) / PAGE;
        let end = first.saturating_add(usize::try_from(run.pages).unwrap_or(usize::MAX));
        let room = part.bytes.get_mut(first.saturating_mul(PAGE)..end.saturating_mul(PAGE));
        if let (Some(room), Some(come)) = (room, part.come.get_mut(first..end)) {
            match bytes {
                Some(bytes) if bytes.len() == room.len() => room.copy_from_slice(bytes),
                _ => room.fill(0),
            }
            come.fill(true);
        }
        part.come.iter().map(|come| u64::from(*come)).sum()
    }

    /// All that has come of the huge page at `start`.
    pub(super) fn bytes(&self, start: GuestAddress) -> Option<&[u8]> {
        self.0.iter().find(|part| part.start == start).map(|part| part.bytes.as_slice())
    }

    /// What lies in this range is in place, or is not wanted any more.
    pub(super) fn forget(&mut self, run: PageRun) {
        let end = run.start.0.saturating_add(run.bytes());
        self.0.retain(|part| part.start < run.start || part.start.0 >= end);
    }

    /// Those that are to become whole before others are begun: all but the last few.
    pub(super) fn overdue(&self) -> impl Iterator<Item = GuestAddress> {
        let count = self.0.len().saturating_sub(MOST);
        self.0.iter().take(count).map(|part| part.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: u64 = 512;

    fn run(page: u64, pages: u64) -> PageRun {
        PageRun { start: GuestAddress(page << 12), pages }
    }

    #[test]
    fn a_part_has_what_has_come_and_zeroes_elsewhere() {
        let (mut parts, unit) = (Parts::default(), run(PAGES, PAGES));
        assert_eq!(parts.put(unit, run(PAGES + 1, 2), Some(&[7; 2 * PAGE])), 2);
        assert_eq!(parts.put(unit, run(PAGES + 2, 1), None), 2, "again");
        assert_eq!(parts.put(unit, run(2 * PAGES - 1, 1), Some(&[8; PAGE])), 3);
        let bytes = parts.bytes(unit.start).unwrap();
        let page = |number: usize| bytes[number * PAGE..][..PAGE].to_vec();
        assert_eq!(
            (page(0), page(1), page(2), page(511)),
            (vec![0; PAGE], vec![7; PAGE], vec![0; PAGE], vec![8; PAGE])
        );
        parts.forget(run(0, PAGES));
        assert!(parts.bytes(unit.start).is_some());
        parts.forget(unit);
        assert!(parts.bytes(unit.start).is_none());
    }

    #[test]
    fn the_first_of_too_many_are_overdue() {
        let mut parts = Parts::default();
        for number in 0..MOST as u64 + 2 {
            parts.put(run(number * PAGES, PAGES), run(number * PAGES, 1), None);
        }
        assert_eq!(parts.overdue().collect::<Vec<_>>(), [GuestAddress(0), GuestAddress(PAGES << 12)]);
    }
}
