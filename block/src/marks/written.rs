//! Sets of parts of a disk.

use std::ops::Range;

use super::GRAIN;

const BITS: u64 = u64::BITS as u64;

/// A set of parts of a disk, [`GRAIN`] bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written(Vec<u64>);

impl Written {
    pub(super) fn of_words(words: Vec<u64>) -> Self {
        Self(words)
    }

    /// Adds all parts that these bytes touch.
    pub fn add_bytes(&mut self, bytes: Range<u64>) {
        if bytes.is_empty() {
            return;
        }
        for grain in bytes.start / GRAIN..bytes.end.div_ceil(GRAIN) {
            let Ok(at) = usize::try_from(grain / BITS) else { return };
            if at >= self.0.len() {
                self.0.resize(at + 1, 0);
            }
            if let Some(word) = self.0.get_mut(at) {
                *word |= 1 << (grain % BITS);
            }
        }
    }

    /// Adds all parts of another set.
    pub fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(to, from)| *to |= from);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Bytes of all parts; the disk's last one counts as a whole one.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum::<u64>().saturating_mul(GRAIN)
    }

    /// Its parts in order, as ranges of bytes of at most one part each.
    pub fn parts(&self) -> impl Iterator<Item = Range<u64>> {
        let words = (0u64..).zip(&self.0).filter(|(_, word)| **word != 0);
        words.flat_map(|(at, word)| {
            let set = (0..BITS).filter(move |bit| word >> bit & 1 == 1);
            set.map(move |bit| (at * BITS + bit) * GRAIN..(at * BITS + bit + 1) * GRAIN)
        })
    }
}
