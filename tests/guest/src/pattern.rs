//! Data that depends on a seed and on its place, and a checksum that depends
//! on order: fast enough for a processor that is emulated twice over.

/// Fills `buffer` with the bytes that belong at `offset` of the pattern `seed`.
/// `offset` is a multiple of 8.
pub fn fill(buffer: &mut [u8], offset: u64, seed: u64) {
    for (word, index) in buffer.chunks_mut(8).zip(offset / 8..) {
        let bytes = mix(seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes();
        word.copy_from_slice(bytes.get(..word.len()).unwrap_or(&bytes));
    }
}

/// FNV-1a over 64-bit little-endian words; a short tail is padded with zeroes.
#[must_use]
pub fn checksum(data: &[u8]) -> u64 {
    data.chunks(8).fold(0xCBF2_9CE4_8422_2325, |sum: u64, chunk| {
        let mut word = [0u8; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// The finalizer of MurmurHash3.
fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    value ^= value >> 33;
    value = value.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_the_pattern_equals_the_same_piece_of_the_whole() {
        let (mut whole, mut piece) = (vec![0; 4096], vec![0; 512]);
        fill(&mut whole, 0, 7);
        fill(&mut piece, 1024, 7);
        assert_eq!(&whole[1024..1536], &piece[..]);
        fill(&mut piece, 1024, 8);
        assert_ne!(&whole[1024..1536], &piece[..]);
    }

    #[test]
    fn the_checksum_sees_order_and_zeroes() {
        assert_ne!(checksum(&[1, 0, 0, 0, 0, 0, 0, 0, 2]), checksum(&[2, 0, 0, 0, 0, 0, 0, 0, 1]));
        assert_ne!(checksum(&[0; 8]), checksum(&[0; 16]));
    }
}
