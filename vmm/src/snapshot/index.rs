//! Which pages of a snapshot's memory file are data, and their checksums.

use std::io::{self, Read};

use ram::PAGE;

/// Longest extent, in bytes: what is read, checked and copied in one go.
pub(super) const EXTENT: u64 = 1 << 21;
const PAGE_BYTES: u64 = PAGE as u64;
/// Bytes of one extent in the file: offset, pages, checksum, little-endian.
const RECORD: usize = 16;
/// Bytes that are read in one go: whole records.
const STEP: u64 = 4096 * RECORD as u64;

/// Neighbouring pages of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where they begin, in bytes.
    pub(super) offset: u64,
    /// How many.
    pub(super) pages: u32,
    /// CRC-32 of them.
    pub(super) crc: u32,
}

impl Extent {
    /// Length in bytes.
    pub(super) fn bytes(self) -> u64 {
        u64::from(self.pages) * PAGE_BYTES
    }

    fn parse(record: [u8; RECORD]) -> Self {
        let value = u128::from_le_bytes(record);
        let part = |shift: u32| u32::try_from(value >> shift & 0xffff_ffff).unwrap_or_default();
        Self { offset: u64::from(part(0)) | u64::from(part(32)) << 32, pages: part(64), crc: part(96) }
    }
}

/// All extents in order. Pages that are in none are zero, or those of the snapshot before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index(pub(super) Vec<Extent>);

impl Index {
    /// As it is in a file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let record = |extent: &Extent| {
            let mut bytes = [0; RECORD];
            let value =
                u128::from(extent.offset) | u128::from(extent.pages) << 64 | u128::from(extent.crc) << 96;
            bytes.copy_from_slice(&value.to_le_bytes());
            bytes
        };
        self.0.iter().flat_map(record).collect()
    }

    /// Reads one of a memory file of `length` bytes. What is wrong with it is found before more of it is kept.
    ///
    /// # Errors
    /// It cannot be read; of kind `InvalidData`: what is wrong with it.
    pub(super) fn read(mut from: impl Read, length: u64) -> io::Result<Self> {
        let wrong = |why: &'static str| io::Error::new(io::ErrorKind::InvalidData, why);
        let (mut end, mut extents, mut bytes) = (0, Vec::new(), Vec::new());
        while from.by_ref().take(STEP).read_to_end(&mut bytes)? != 0 {
            let (records, rest) = bytes.as_chunks();
            if !rest.is_empty() {
                return Err(wrong("the index of its memory is cut off"));
            }
            for record in records {
                let extent = Extent::parse(*record);
                let last = extent.offset.checked_add(extent.bytes());
                let fits = extent.pages != 0
                    && extent.bytes() <= EXTENT
                    && extent.offset.is_multiple_of(PAGE_BYTES)
                    && extent.offset >= end;
                end = last
                    .filter(|last| fits && *last <= length)
                    .ok_or_else(|| wrong("the index of its memory names impossible pages"))?;
                extents.push(extent);
            }
            bytes.clear();
        }
        Ok(Self(extents))
    }

    /// Bytes of the longest one of a memory file of `length` bytes.
    pub(super) fn longest(length: u64) -> u64 {
        (length / PAGE_BYTES).saturating_mul(RECORD as u64)
    }

    /// Bytes of all pages.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|extent| extent.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: u64 = 8 << 20;

    #[test]
    fn an_index_comes_back_and_impossible_ones_do_not() {
        let extent = |offset, pages| Extent { offset, pages, crc: 0xdead_beef };
        let index = Index(vec![extent(0, 1), extent(0x1000, 512), extent(LENGTH - 0x1000, 1)]);
        assert_eq!(Index::read(&*index.to_bytes(), LENGTH).unwrap(), index);
        assert_eq!(index.bytes(), 514 * PAGE_BYTES);
        let bad = [
            vec![extent(0, 0)],
            vec![extent(0, 513)],
            vec![extent(5, 1)],
            vec![extent(LENGTH, 1)],
            vec![extent(u64::MAX - 0xfff, 1)],
            vec![extent(0, 2), extent(0x1000, 1)],
        ];
        for extents in bad {
            assert!(Index::read(&*Index(extents.clone()).to_bytes(), LENGTH).is_err(), "{extents:?}");
        }
        assert!(Index::read(&index.to_bytes()[..20], LENGTH).is_err());
    }

    #[test]
    fn as_many_as_there_are_pages_are_read_and_holes_are_not() {
        let extents =
            (0..20_000).map(|page| Extent { offset: page * PAGE_BYTES, pages: 1, crc: 7 }).collect();
        let index = Index(extents);
        assert_eq!(Index::read(&*index.to_bytes(), 20_000 * PAGE_BYTES).unwrap(), index);
        assert!(Index::read(io::repeat(0), u64::MAX).is_err(), "it has no end");
    }

    proptest! {
        #[test]
        fn whatever_is_read_lies_in_the_file(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(index) = Index::read(&*bytes, LENGTH) {
                prop_assert!(index.0.iter().all(|extent| extent.offset + extent.bytes() <= LENGTH));
            }
        }
    }
}
