//! What a snapshot keeps of a console.

use serde::{Deserialize, Serialize};

/// Layout of [`ConsoleState`].
pub(super) const VERSION: u32 = 1;

/// Saved state. Connections to the host are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleState {
    /// Layout of this struct.
    pub version: u32,
    /// Columns and rows of the terminal; 0 if unknown.
    pub size: (u16, u16),
    /// The driver said that it handles several ports.
    pub driver_ready: bool,
    /// The ports in order.
    pub ports: Vec<PortState>,
}

/// State of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortState {
    /// The driver is ready to use it.
    pub ready: bool,
    /// A process in the guest has it open.
    pub guest_open: bool,
    /// The driver was told that the host has it open.
    pub told_open: bool,
    /// Messages that the driver has not got yet, as a set of bits.
    pub pending: u8,
    /// Bytes of the oldest chain that are already with the host.
    pub output_skip: u32,
}
