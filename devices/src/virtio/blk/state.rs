//! What a snapshot keeps of a disk's device.

use serde::{Deserialize, Serialize};

/// Layout of [`BlkState`].
pub(super) const VERSION: u32 = 1;

/// Saved state. The disk's contents are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkState {
    /// Layout of this struct.
    pub version: u32,
    /// The driver lets completed writes stay in the host's cache until it flushes.
    pub writeback: bool,
}
