//! Files as they lie in frames.

use serde::{Deserialize, Serialize};

use super::WireError;

/// A file that is to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHead {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A part of a file: where it belongs (8 bytes, little-endian), then its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where in the file.
    pub offset: u64,
    /// What is there.
    pub bytes: Vec<u8>,
}

impl Part {
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.offset.to_le_bytes(), self.bytes.as_slice()].concat()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let (offset, bytes) = payload.split_first_chunk().ok_or(WireError::Senseless)?;
        Ok(Self { offset: u64::from_le_bytes(*offset), bytes: bytes.to_vec() })
    }
}
