//! How ISO 9660 writes numbers and records (ECMA-119 §7).

use super::{Extent, IsoError, SECTOR};

/// A 16-bit number in both byte orders (§7.2.3).
pub(super) fn both16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

/// A 32-bit number in both byte orders (§7.3.3).
pub(super) fn both32(value: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d, e, f, g, h]
}

/// 1 January 2000: images do not tell when they were made, so that they repeat (§9.1.5).
pub(super) const RECORD_DATE: [u8; 7] = [100, 1, 1, 0, 0, 0, 0];
/// The same, as descriptors write it (§8.4.26.1).
pub(super) const VOLUME_DATE: &[u8; 17] = b"2000010100000000\0";
/// No date.
pub(super) const NO_DATE: &[u8; 17] = b"0000000000000000\0";

/// What a directory record says.
pub(super) struct Record<'a> {
    pub(super) name: &'a [u8],
    pub(super) extent: Extent,
    pub(super) is_dir: bool,
    /// Rock Ridge fields.
    pub(super) system_use: &'a [u8],
}

/// Length of a record without its system use field.
pub(super) fn record_len(name: &[u8]) -> usize {
    (33 + name.len()).next_multiple_of(2)
}

impl Record<'_> {
    /// Appends the record to a directory, in the next sector where it would not fit in this one (§9.1).
    pub(super) fn append(&self, to: &mut Vec<u8>) -> Result<(), IsoError> {
        let len = (record_len(self.name) + self.system_use.len()).next_multiple_of(2);
        let too_long = |_| IsoError::TooLarge;
        if to.len() % SECTOR + len > SECTOR {
            to.resize(to.len().next_multiple_of(SECTOR), 0);
        }
        let start = to.len();
        to.push(u8::try_from(len).map_err(too_long)?);
        to.push(0);
        to.extend(both32(self.extent.sector));
        to.extend(both32(self.extent.len));
        to.extend(RECORD_DATE);
        to.push(if self.is_dir { 2 } else { 0 });
        to.extend([0, 0]);
        to.extend(both16(1));
        to.push(u8::try_from(self.name.len()).map_err(too_long)?);
        to.extend(self.name);
        to.resize(start + record_len(self.name), 0);
        to.extend(self.system_use);
        to.resize(start + len, 0);
        Ok(())
    }
}
