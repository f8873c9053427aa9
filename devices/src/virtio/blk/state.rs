//! What a snapshot keeps of a disk's device.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Layout of [`BlkState`]. Version 1 had no requests that are held back.
pub(super) const VERSION: u32 = 2;
/// Versions that are read.
pub(super) const READABLE: std::ops::RangeInclusive<u32> = 1..=VERSION;

/// Saved state. The disk's contents are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkState {
    /// Layout of this struct.
    pub version: u32,
    /// The driver lets completed writes stay in the host's cache until it flushes.
    pub writeback: bool,
    /// Requests that are held back ([`super::ErrorPolicy`]): for each queue that has any, the heads of their chains.
    #[serde(default)]
    pub held: BTreeMap<u16, Vec<u16>>,
}

impl BlkState {
    /// Whether this is the state of a device with queues of these sizes.
    pub(super) fn fits(&self, sizes: &[u16]) -> bool {
        let fits = |(queue, heads): (&u16, &Vec<u16>)| {
            let size = sizes.get(usize::from(*queue)).copied().unwrap_or(0);
            heads.len() <= usize::from(size) && heads.iter().all(|head| *head < size)
        };
        READABLE.contains(&self.version) && self.held.iter().all(fits)
    }
}
