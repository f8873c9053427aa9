//! Batches of pages.
//!
//! A batch is the number of its runs, then the runs, then the bytes of those that are not zero, in the same order. A run is an address
//! (8 bytes), a number of pages (4 bytes) and whether they have bytes (1) or are all zero (0; 4 bytes), little-endian.

use block::ops::is_zero;
use ram::PAGE;

use super::WireError;

/// Most pages with bytes in one batch.
pub(super) const MOST_PAGES: usize = 256;
/// Pages with bytes that make a batch full: so many are still in a processor's cache when they have been looked at.
const FULL: usize = 64;
/// Most runs of one batch.
pub(super) const MOST_RUNS: usize = 4096;
/// Bytes of a run.
const RUN: usize = 16;

/// Neighbouring pages that all have bytes, or are all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where the first one lies in guest memory.
    pub start: u64,
    /// How many, at least one.
    pub pages: u32,
    /// None of them has a byte that is not zero.
    pub zero: bool,
}

impl Run {
    /// Bytes of all its pages.
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) * PAGE as u64
    }
}

/// Some pages and what is in them.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    runs: Vec<Run>,
    /// Memory, of which some is in use.
    data: Vec<u8>,
    /// Where in `data` the pages begin: a batch that was received keeps its whole frame.
    head: usize,
    /// How many bytes of it all pages have.
    len: usize,
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.runs == other.runs && self.data() == other.data()
    }
}

impl Eq for Batch {}

impl Batch {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether no more pages fit in.
    pub fn is_full(&self) -> bool {
        self.len >= FULL * PAGE || self.runs.len() > MOST_RUNS - MOST_PAGES
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.runs.clear();
        (self.head, self.len) = (0, 0);
    }

    /// How many more pages it takes before it is full. It takes some more all the same.
    pub fn room(&self) -> usize {
        if self.is_full() { 0 } else { FULL - self.len / PAGE }
    }

    /// Adds so many pages from `start` on, all of whose bytes `fill` writes. Says how many of them are zero.
    pub fn add<E>(
        &mut self,
        start: u64,
        pages: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let from = self.head + self.len;
        let to = from + pages * PAGE;
        if self.data.len() < to {
            self.data.resize(to, 0);
        }
        fill(self.data.get_mut(from..to).unwrap_or_default())?;
        let mut zeroes = 0;
        for (number, at) in (0..).zip((from..to).step_by(PAGE)) {
            let page = at..at + PAGE;
            let zero = is_zero(self.data.get(page.clone()).unwrap_or_default());
            self.note(start + number * PAGE as u64, zero);
            if zero {
                zeroes += 1;
                continue;
            }
            let end = self.head + self.len;
            if end < at {
                self.data.copy_within(page, end);
            }
            self.len += PAGE;
        }
        Ok(zeroes)
    }

    /// Adds a page to the last run, or to a new one.
    fn note(&mut self, start: u64, zero: bool) {
        match self.runs.last_mut() {
            Some(run) if run.zero == zero && start.checked_sub(run.bytes()) == Some(run.start) => {
                run.pages += 1;
            }
            _ => self.runs.push(Run { start, pages: 1, zero }),
        }
    }

    /// Adds so many pages of zeroes, at least one, from `start` on.
    pub fn add_zeroes(&mut self, start: u64, pages: u32) {
        self.runs.push(Run { start, pages, zero: true });
    }

    /// Bytes of its pages that are not zero.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.data().len()).unwrap_or(u64::MAX)
    }

    /// Its runs, with the bytes of those that have any.
    pub fn runs(&self) -> impl Iterator<Item = (Run, &[u8])> {
        let mut data = self.data();
        self.runs.iter().map(move |run| {
            let len = if run.zero { 0 } else { usize::try_from(run.bytes()).unwrap_or(usize::MAX) };
            let (bytes, rest) = data.split_at_checked(len).unwrap_or_default();
            data = rest;
            (*run, bytes)
        })
    }

    /// Its bytes in a frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend_from_slice(self.data());
        bytes
    }

    /// All before the contents of pages.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.runs.len() * RUN);
        bytes.extend_from_slice(&u32::try_from(self.runs.len()).unwrap_or(u32::MAX).to_le_bytes());
        for run in &self.runs {
            bytes.extend_from_slice(&run.start.to_le_bytes());
            bytes.extend_from_slice(&run.pages.to_le_bytes());
            bytes.extend_from_slice(&u32::from(!run.zero).to_le_bytes());
        }
        bytes
    }

    /// The contents of pages.
    pub(super) fn data(&self) -> &[u8] {
        self.data.get(self.head..self.head + self.len).unwrap_or_default()
    }

    /// Its memory, for the next one.
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.data
    }

    /// The batch of a frame.
    pub(super) fn decode(payload: Vec<u8>) -> Result<Self, WireError> {
        let (count, rest) = payload.split_first_chunk().ok_or(WireError::Senseless)?;
        let count = usize::try_from(u32::from_le_bytes(*count)).unwrap_or(usize::MAX);
        if count > MOST_RUNS {
            return Err(WireError::Senseless);
        }
        let (runs, data) = rest.split_at_checked(count * RUN).ok_or(WireError::Senseless)?;
        let (runs, _) = runs.as_chunks::<RUN>();
        let runs = runs.iter().map(decode_run).collect::<Result<Vec<_>, _>>()?;
        let expected: u64 = runs.iter().filter(|run| !run.zero).map(Run::bytes).sum();
        if u64::try_from(data.len()) != Ok(expected) || data.len() > MOST_PAGES * PAGE {
            return Err(WireError::Senseless);
        }
        let len = data.len();
        Ok(Self { runs, data: payload, head: 4 + count * RUN, len })
    }
}

fn decode_run(bytes: &[u8; RUN]) -> Result<Run, WireError> {
    let (numbers, _) = bytes.as_chunks::<4>();
    let &[s0, s1, pages, kind] = numbers else { return Err(WireError::Senseless) };
    let start = u64::from(u32::from_le_bytes(s1)) << 32 | u64::from(u32::from_le_bytes(s0));
    let run = Run { start, pages: u32::from_le_bytes(pages), zero: kind == [0; 4] };
    let makes_sense = run.pages > 0
        && start.is_multiple_of(PAGE as u64)
        && start.checked_add(run.bytes()).is_some()
        && matches!(kind, [0 | 1, 0, 0, 0]);
    if makes_sense { Ok(run) } else { Err(WireError::Senseless) }
}
