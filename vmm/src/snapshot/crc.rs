//! Checksums of files: CRC-32.

use std::fs::File;
use std::io::{self, Read};
use std::iter;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use block::ops::data_pieces;
use crc32fast::Hasher;
use image::archive::in_parts;

/// Zeroes that are counted in one go.
const BLOCK: [u8; 4096] = [0; 4096];

/// That of a part of a file.
pub(super) fn of_part(file: &File, part: Range<u64>) -> io::Result<u32> {
    let mut hasher = Hasher::new();
    add(&mut hasher, file, part)?;
    Ok(hasher.finalize())
}

/// That of a whole file of so many bytes. Its holes are not read: there may be much of them, as much as anybody likes to claim.
pub(super) fn of_file(file: &File, bytes: u64) -> io::Result<u32> {
    let mut hasher = Hasher::new();
    let mut at = 0;
    for piece in data_pieces(file, bytes)? {
        hasher.combine(&zeroes(piece.start - at));
        at = piece.end;
        add(&mut hasher, file, piece)?;
    }
    hasher.combine(&zeroes(bytes - at));
    Ok(hasher.finalize())
}

fn add(hasher: &mut Hasher, file: &File, part: Range<u64>) -> io::Result<()> {
    in_parts(iter::once(part), |at, bytes| {
        file.read_exact_at(bytes, at)?;
        hasher.update(bytes);
        Ok(())
    })
}

/// So many zeroes, in steps of powers of two.
fn zeroes(bytes: u64) -> Hasher {
    let (mut all, mut step) = (Hasher::new(), Hasher::new());
    step.update(&BLOCK);
    let mut left = bytes / BLOCK.len() as u64;
    while left != 0 {
        if left & 1 == 1 {
            all.combine(&step);
        }
        let half = step.clone();
        step.combine(&half);
        left >>= 1;
    }
    let rest = usize::try_from(bytes % BLOCK.len() as u64).unwrap_or(0);
    all.update(BLOCK.get(..rest).unwrap_or_default());
    all
}

/// What is read from `from`, counted into a checksum.
pub(super) struct Summed<R> {
    from: R,
    hasher: Hasher,
}

impl<R: Read> Summed<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, hasher: Hasher::new() }
    }

    /// CRC-32 of what was read.
    pub(super) fn crc(self) -> u32 {
        self.hasher.finalize()
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn holes_count_as_the_zeroes_that_they_are() {
        let mut file = tempfile::tempfile().unwrap();
        let mut bytes = vec![0; 3 << 20];
        assert_eq!(zeroes(bytes.len() as u64 - 1).finalize(), crc32fast::hash(&bytes[1..]));
        bytes[(1 << 20) + 5..][..3].copy_from_slice(b"two");
        bytes[..3].copy_from_slice(b"one");
        file.write_all(b"one").unwrap();
        file.write_all_at(b"two", (1 << 20) + 5).unwrap();
        file.set_len(3 << 20).unwrap();
        assert_eq!(of_file(&file, 3 << 20).unwrap(), crc32fast::hash(&bytes));
        assert_eq!(of_part(&file, 1 << 20..2 << 20).unwrap(), crc32fast::hash(&bytes[1 << 20..2 << 20]));
        let mut summed = Summed::new(&*bytes);
        io::copy(&mut summed, &mut io::sink()).unwrap();
        assert_eq!(summed.crc(), crc32fast::hash(&bytes));
        assert!(of_part(&file, 0..4 << 20).is_err());
    }

    #[test]
    fn a_hole_takes_no_time_however_long_it_is() {
        let file = tempfile::tempfile().unwrap();
        // The longest that file systems have: who reads it does not come to an end.
        let bytes = [1 << 62, 1 << 43].into_iter().find(|bytes| file.set_len(*bytes).is_ok()).unwrap();
        assert_eq!(of_file(&file, bytes).unwrap(), zeroes(bytes).finalize());
        // A loop that doubles has to end.
        zeroes(u64::MAX >> 1);
    }
}
