//! What a snapshot keeps of a network card.

use serde::{Deserialize, Serialize};

/// Layout of [`NetState`].
pub(super) const VERSION: u32 = 1;

/// Saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    /// Layout of this struct.
    pub version: u32,
    /// Hardware address, which the driver may have changed.
    pub mac: [u8; 6],
    /// Queue pairs that the driver uses.
    pub active_pairs: u16,
    /// Whether the cable is plugged in.
    pub link_up: bool,
}
