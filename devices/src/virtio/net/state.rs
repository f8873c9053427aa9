//! What a snapshot keeps of a network card.

use serde::{Deserialize, Serialize};

use super::settings::Settings;

/// Layout of [`NetState`].
pub(super) const VERSION: u32 = 2;

/// Saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetState {
    /// Layout of this struct.
    pub version: u32,
    /// Whether the cable is plugged in.
    pub link_up: bool,
    /// The driver was asked to tell the network where it is, and has not said that it did.
    pub announcing: bool,
    /// What the driver has set.
    pub(super) settings: Settings,
}
