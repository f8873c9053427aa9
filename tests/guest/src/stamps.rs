//! Numbered blocks, written all over a disk so that images grow at many places. Each number goes to one place, which is
//! known beforehand, and a block tells whether all of it belongs to its number.

use crate::pattern;

/// Bytes of a block. It is written whole or not at all: a page is what the kernels in between deal in.
pub const BLOCK: usize = 4096;
/// Number of places.
pub const PLACES: u64 = 2048;
/// Bytes from one place to the next: no two are in one cluster of an image.
const STRIDE: u64 = 192 << 10;
/// Bytes of a disk with all places.
pub const DISK: u64 = PLACES * STRIDE;

/// Where number `number` is written, out of [`PLACES`].
#[must_use]
pub fn place(number: u64) -> u64 {
    let mut bytes = [0; 8];
    pattern::fill(&mut bytes, 0, number);
    u64::from_le_bytes(bytes) % PLACES
}

/// The first byte of a place.
#[must_use]
pub fn offset(place: u64) -> u64 {
    // Not always the start of a cluster.
    place * STRIDE + place % 16 * BLOCK as u64
}

/// Fills a block with a number, which is not 0.
pub fn fill(block: &mut [u8], number: u64) {
    pattern::fill(block, 0, number);
    if let Some(head) = block.first_chunk_mut::<8>() {
        *head = number.to_le_bytes();
    }
}

/// The number of a block, 0 if it is zeroes; `None` if parts of it are of something else.
#[must_use]
pub fn read(block: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(*block.first_chunk()?);
    let mut whole = vec![0; block.len()];
    if number != 0 {
        fill(&mut whole, number);
    }
    (whole == block).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_tells_its_number_and_whether_it_is_torn() {
        let mut block = vec![0; BLOCK];
        assert_eq!(read(&block), Some(0));
        fill(&mut block, 77);
        assert_eq!(read(&block), Some(77));
        block[BLOCK - 1] ^= 1;
        assert_eq!(read(&block), None);
    }

    #[test]
    fn places_are_on_the_disk_and_spread() {
        let mut seen = vec![false; usize::try_from(PLACES).unwrap()];
        for number in 1..20_000 {
            let place = place(number);
            assert!(offset(place) + BLOCK as u64 <= DISK);
            seen[usize::try_from(place).unwrap()] = true;
        }
        assert!(seen.iter().filter(|seen| **seen).count() > 2000);
    }
}
