//! Which pages of a snapshot's memory file are data, and their checksums.

use ram::PAGE;

/// Longest extent, in bytes: what is read, checked and copied in one go.
pub(super) const EXTENT: u64 = 1 << 21;
const PAGE_BYTES: u64 = PAGE as u64;
/// Bytes of one extent in the file: offset, pages, checksum, little-endian.
const RECORD: usize = 16;

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

    /// Reads one of a memory file of `length` bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(bytes: &[u8], length: u64) -> Result<Self, &'static str> {
        if !bytes.len().is_multiple_of(RECORD) {
            return Err("the index of its memory is cut off");
        }
        let mut end = 0;
        let mut extents = Vec::with_capacity(bytes.len() / RECORD);
        for record in bytes.chunks_exact(RECORD) {
            let value = u128::from_le_bytes(record.try_into().unwrap_or_default());
            let part = |shift: u32| u32::try_from(value >> shift & 0xffff_ffff).unwrap_or_default();
            let offset = u64::from(part(0)) | u64::from(part(32)) << 32;
            let extent = Extent { offset, pages: part(64), crc: part(96) };
            let last = offset.checked_add(extent.bytes());
            let fits = extent.pages != 0
                && extent.bytes() <= EXTENT
                && offset.is_multiple_of(PAGE_BYTES)
                && offset >= end
                && last.is_some_and(|last| last <= length);
            if !fits {
                return Err("the index of its memory names impossible pages");
            }
            end = last.unwrap_or(u64::MAX);
            extents.push(extent);
        }
        Ok(Self(extents))
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
        assert_eq!(Index::parse(&index.to_bytes(), LENGTH), Ok(index.clone()));
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
            assert!(Index::parse(&Index(extents.clone()).to_bytes(), LENGTH).is_err(), "{extents:?}");
        }
        assert!(Index::parse(&index.to_bytes()[..20], LENGTH).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_read_lies_in_the_file(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(index) = Index::parse(&bytes, LENGTH) {
                prop_assert!(index.0.iter().all(|extent| extent.offset + extent.bytes() <= LENGTH));
            }
        }
    }
}
