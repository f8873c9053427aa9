//! Stand-ins for the machine, and accesses that no driver makes.

use std::sync::{Arc, Mutex};

use crate::bus::BusDevice;
use crate::irq::IrqLine;

/// An interrupt line that remembers what was done to it.
#[derive(Debug, Default)]
pub(super) struct RecordedLine(Mutex<Vec<bool>>);

impl RecordedLine {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Levels that were driven since the last call.
    pub(super) fn take(&self) -> Vec<bool> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl IrqLine for RecordedLine {
    fn set_level(&self, high: bool) {
        self.0.lock().unwrap().push(high);
    }
}

/// Reads one byte.
pub(super) fn read8(device: &dyn BusDevice, offset: u64) -> u8 {
    let mut data = [0u8; 1];
    device.read(offset, &mut data);
    data[0]
}

/// Every size at and around every offset of a device of `size` bytes, and at the far end of the address space, with
/// values that set all, none and single bits.
pub(super) fn hammer(device: &dyn BusDevice, size: u64) {
    let far = [u64::MAX, u64::MAX - 1, u64::MAX - 7, 1 << 32, 1 << 16, 255, 256];
    let mut values = vec![0, u64::MAX, 0x55aa_55aa_55aa_55aa, 0x0102_0304_0506_0708];
    values.extend((0..64).map(|bit| 1u64 << bit));
    for offset in (0..size + 8).chain(far) {
        for length in [0, 1, 2, 4, 8] {
            for value in &values {
                let _ = device.write(offset, &value.to_le_bytes()[..length]);
                device.read(offset, &mut [0u8; 8][..length]);
            }
        }
    }
}
