//! Firmware configuration device of QEMU (docs/specs/fw_cfg): named items that firmware and guests read, by port or by
//! DMA. Ports 0x510 (selector, 2 bytes), 0x511 (data), 0x514 (DMA address, 8 bytes, big-endian).
//!
//! Items come from the plan of the machine, so a snapshot holds only the guest's place in them, and what it wrote to those few
//! files that are there to be written.

mod dma;
mod items;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Mutex;

use items::Items;
pub use items::{FILE_NAME_MAX, FILES_MAX, FwCfgItem, ItemError, Key};
use serde::{Deserialize, Serialize};

use super::offsets_from;
use super::state::{StateError, check_version};
use crate::GuestRam;
use crate::bus::{Action, BusDevice};
use crate::lock;

/// First port.
pub const BASE: u64 = 0x510;
/// Number of ports.
pub const SIZE: u64 = 12;

const SELECTOR: u64 = 0;
const DATA: u64 = 1;
const DMA_HIGH: u64 = 4;
const DMA_LOW: u64 = 8;
/// What the DMA address register reads as.
const DMA_SIGNATURE: [u8; 8] = *b"QEMU CFG";

const DEVICE: &str = "the firmware configuration device";
const VERSION: u32 = 1;

/// What a snapshot keeps of the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Layout of this struct.
    pub version: u32,
    /// Selected key.
    pub key: u16,
    /// Bytes of the item that were read or skipped.
    pub offset: u64,
    /// Upper half of the DMA address, written and not yet used.
    pub dma_high: u32,
    /// Files that the guest has written to, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub written: BTreeMap<String, Vec<u8>>,
}

/// The device.
#[derive(Debug)]
pub struct FwCfg {
    items: Items,
    ram: GuestRam,
    cursor: Mutex<Cursor>,
}

/// The guest's place.
#[derive(Debug, Default)]
struct Cursor {
    key: u16,
    offset: u64,
    dma_high: u32,
    /// What it wrote to files, by their names.
    written: BTreeMap<String, Vec<u8>>,
}

impl Cursor {
    fn select(&mut self, key: u16) {
        self.key = key;
        self.offset = 0;
    }
}

impl FwCfg {
    /// A device that offers `items` and does DMA to `ram`.
    ///
    /// # Errors
    /// Two items have one key or name, or there are too many files.
    pub fn new(items: Vec<FwCfgItem>, ram: GuestRam) -> Result<Self, ItemError> {
        Ok(Self { items: Items::new(items)?, ram, cursor: Mutex::default() })
    }

    /// State for a snapshot.
    pub fn save(&self) -> State {
        let cursor = lock(&self.cursor);
        State {
            version: VERSION,
            key: cursor.key,
            offset: cursor.offset,
            dma_high: cursor.dma_high,
            written: cursor.written.clone(),
        }
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// The state has an unknown version.
    pub fn restore(&self, state: &State) -> Result<(), StateError> {
        check_version(DEVICE, state.version, VERSION)?;
        let State { key, offset, dma_high, .. } = *state;
        // What a device offers does not change its size: that of another is none of this one's.
        let fits = |name: &String, data: &Vec<u8>| self.items.length_of(name) == Some(data.len());
        let written = state.written.iter().filter(|(name, data)| fits(name, data));
        let written = written.map(|(name, data)| (name.clone(), data.clone())).collect();
        *lock(&self.cursor) = Cursor { key, offset, dma_high, written };
        Ok(())
    }

    /// The selected item from the guest's place on.
    fn rest<'a>(&'a self, cursor: &'a Cursor) -> &'a [u8] {
        let written = self.items.writable(cursor.key).and_then(|name| cursor.written.get(name));
        let item = written.map_or_else(|| self.items.get(cursor.key), Vec::as_slice);
        usize::try_from(cursor.offset).ok().and_then(|offset| item.get(offset..)).unwrap_or(&[])
    }

    /// Reads on in the selected item; zeroes follow its end. String instructions may ask for several bytes at once.
    fn read_data(&self, data: &mut [u8]) {
        let mut cursor = lock(&self.cursor);
        let rest = self.rest(&cursor);
        data.fill(0);
        data.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        cursor.offset = cursor.offset.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
    }

    fn write_dma_low(&self, low: u32) {
        let mut cursor = lock(&self.cursor);
        let address = u64::from(std::mem::take(&mut cursor.dma_high)) << 32 | u64::from(low);
        self.transfer(&mut cursor, address);
    }
}

impl BusDevice for FwCfg {
    fn read(&self, offset: u64, data: &mut [u8]) {
        if offset == DATA {
            return self.read_data(data);
        }
        for (byte, offset) in data.iter_mut().zip(offsets_from(offset)) {
            let place = offset.checked_sub(DMA_HIGH).and_then(|place| usize::try_from(place).ok());
            *byte = place.and_then(|place| DMA_SIGNATURE.get(place)).copied().unwrap_or(0);
        }
    }

    /// Accesses of a register's own width count, all others are dropped.
    fn write(&self, offset: u64, data: &[u8]) -> Action {
        match (offset, data) {
            (SELECTOR, &[low, high]) => lock(&self.cursor).select(u16::from_le_bytes([low, high])),
            (DMA_HIGH, &[a, b, c, d]) => lock(&self.cursor).dma_high = u32::from_be_bytes([a, b, c, d]),
            (DMA_LOW, &[a, b, c, d]) => self.write_dma_low(u32::from_be_bytes([a, b, c, d])),
            _ => {}
        }
        Action::None
    }
}
