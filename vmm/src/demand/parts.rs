//! Huge pages of which only some pages have come: they are put in place when all have.

use ram::PAGE;
use vm_memory::GuestAddress;

use crate::dirty::PageRun;

/// More than these are not begun before the first ones are whole: they take memory twice.
const MOST: usize = 32;
/// More than these nobody begins who hears what is asked for, whatever is on its way.
const TOO_MANY: usize = 8 * MOST;

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

/// What there is when pages of a huge page were taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gathered {
    /// How many of it have come.
    pub(super) come: u64,
    /// One that is to become whole before others are begun, since this one was.
    pub(super) overdue: Option<GuestAddress>,
}

/// The other side begins huge pages without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other side sends parts of too many huge pages")]
pub(super) struct TooMany;

impl Parts {
    /// Takes in pages of the huge page `unit`; `None` are zeroes.
    pub(super) fn put(
        &mut self,
        unit: PageRun,
        run: PageRun,
        bytes: Option<&[u8]>,
    ) -> Result<Gathered, TooMany> {
        let begun = self.0.len();
        let part = match self.0.iter().position(|part| part.start == unit.start) {
            Some(at) => self.0.get_mut(at),
            None if begun >= TOO_MANY => return Err(TooMany),
            None => {
                let pages = usize::try_from(unit.pages).unwrap_or(0);
                let (bytes, come) = (vec![0; pages.saturating_mul(PAGE)], vec![false; pages]);
                self.0.push(Part { start: unit.start, bytes, come });
                self.0.last_mut()
            }
        };
        let Some(part) = part else { return Ok(Gathered { come: 0, overdue: None }) };
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
        let come = part.come.iter().map(|come| u64::from(*come)).sum();
        // Those before it became overdue when others were begun.
        let overdue = self.0.len().checked_sub(MOST + 1).filter(|_| self.0.len() > begun);
        let overdue = overdue.and_then(|at| self.0.get(at)).map(|part| part.start);
        Ok(Gathered { come, overdue })
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
        let mut put = |run, bytes| parts.put(unit, run, bytes).unwrap().come;
        assert_eq!(put(run(PAGES + 1, 2), Some(&[7; 2 * PAGE])), 2);
        assert_eq!(put(run(PAGES + 2, 1), None), 2, "again");
        assert_eq!(put(run(2 * PAGES - 1, 1), Some(&[8; PAGE])), 3);
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
    fn one_is_overdue_for_each_that_is_begun_and_too_many_are_refused() {
        let mut parts = Parts::default();
        let mut put = |number: u64, page: u64| {
            let gathered = parts.put(run(number * PAGES, PAGES), run(number * PAGES + page, 1), None);
            gathered.map(|gathered| gathered.overdue.map(|start| start.0 / (PAGES << 12)))
        };
        let most = MOST as u64;
        assert!((0..most).all(|number| put(number, 0) == Ok(None)));
        assert_eq!([put(most, 0), put(most, 1), put(most + 1, 0)], [Ok(Some(0)), Ok(None), Ok(Some(1))]);
        assert!((most + 2..TOO_MANY as u64).all(|number| put(number, 0) == Ok(Some(number - most))));
        assert_eq!(put(TOO_MANY as u64, 0), Err(TooMany));
        assert_eq!(put(0, 1), Ok(None), "one that was begun before");
    }
}
