//! Sets of pages as they lie in frames: words whose bit *n* is page *n*.

use super::WireError;

/// Most words of one piece: 16 GiB of memory.
const MOST_WORDS: usize = 64 << 10;

/// A part of a set of pages: where it begins (8 bytes), whether it is the last one (8 bytes, 1 or 0), then the words, all little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Address of the page of the first bit.
    pub start: u64,
    /// The pages.
    pub words: Vec<u64>,
    /// No further piece follows.
    pub last: bool,
}

impl Piece {
    /// Most words of one piece: 16 GiB of memory.
    pub const MOST: usize = MOST_WORDS;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.words.len() * 8);
        bytes.extend_from_slice(&self.start.to_le_bytes());
        bytes.extend_from_slice(&u64::from(self.last).to_le_bytes());
        bytes.extend(self.words.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let words = decode_words(payload)?;
        match words.split_first_chunk() {
            Some(([start, last @ (0 | 1)], words)) if words.len() <= MOST_WORDS => {
                Ok(Self { start: *start, words: words.to_vec(), last: *last == 1 })
            }
            _ => Err(WireError::Senseless),
        }
    }
}

/// Numbers of 8 bytes, one behind the other.
pub(super) fn encode_words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(super) fn decode_words(payload: &[u8]) -> Result<Vec<u64>, WireError> {
    let (words, rest) = payload.as_chunks();
    if !rest.is_empty() {
        return Err(WireError::Senseless);
    }
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}
