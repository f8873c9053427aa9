//! One address space: a sorted list of ranges.

use std::sync::{Arc, PoisonError, RwLock};

use super::{Action, BusDevice};

/// Why a range could not be claimed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BusError {
    /// The range is empty or runs past the end of the address space.
    #[error("range of {size:#x} bytes at {base:#x} is empty or wraps around")]
    BadRange {
        /// First address.
        base: u64,
        /// Length in bytes.
        size: u64,
    },
    /// Another device answers there already.
    #[error("range of {size:#x} bytes at {base:#x} overlaps another device's")]
    Overlap {
        /// First address.
        base: u64,
        /// Length in bytes.
        size: u64,
    },
}

struct Claim {
    base: u64,
    last: u64,
    device: Arc<dyn BusDevice>,
}

/// An address space. Reads that nobody claims give all ones, writes there are dropped, as on real hardware.
#[derive(Default)]
pub struct Bus {
    /// Sorted by base, without overlaps.
    claims: RwLock<Vec<Claim>>,
}

impl Bus {
    /// An address space without any device.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `device` answer for `size` bytes from `base`.
    pub fn insert(&self, base: u64, size: u64, device: Arc<dyn BusDevice>) -> Result<(), BusError> {
        let last =
            size.checked_sub(1).and_then(|s| base.checked_add(s)).ok_or(BusError::BadRange { base, size })?;
        let mut claims = self.claims.write().unwrap_or_else(PoisonError::into_inner);
        let at = claims.partition_point(|claim| claim.base <= base);
        let before = at.checked_sub(1).and_then(|i| claims.get(i));
        let overlaps = before.is_some_and(|claim| claim.last >= base)
            || claims.get(at).is_some_and(|claim| claim.base <= last);
        if overlaps {
            return Err(BusError::Overlap { base, size });
        }
        claims.insert(at, Claim { base, last, device });
        Ok(())
    }

    /// Takes back what `device` claimed from `base`; false if it claimed nothing there.
    pub fn remove(&self, base: u64, device: &Arc<dyn BusDevice>) -> bool {
        let mut claims = self.claims.write().unwrap_or_else(PoisonError::into_inner);
        let found = claims.iter().position(|claim| claim.base == base && Arc::ptr_eq(&claim.device, device));
        found.map(|index| claims.remove(index)).is_some()
    }

    /// Reads `data.len()` bytes at `address`; false (and all ones) if nobody answers.
    pub fn read(&self, address: u64, data: &mut [u8]) -> bool {
        match self.find(address, data.len()) {
            Some((device, offset)) => {
                device.read(offset, data);
                true
            }
            None => {
                data.fill(0xff);
                false
            }
        }
    }

    /// Writes `data` at `address`; `None` if nobody answers.
    pub fn write(&self, address: u64, data: &[u8]) -> Option<Action> {
        self.find(address, data.len()).map(|(device, offset)| device.write(offset, data))
    }

    /// The device that claims all of `len` bytes at `address`, and the offset in its range.
    fn find(&self, address: u64, len: usize) -> Option<(Arc<dyn BusDevice>, u64)> {
        let last = address.checked_add(u64::try_from(len).ok()?.checked_sub(1)?)?;
        let claims = self.claims.read().unwrap_or_else(PoisonError::into_inner);
        let at = claims.partition_point(|claim| claim.base <= address).checked_sub(1)?;
        let claim = claims.get(at).filter(|claim| last <= claim.last)?;
        Some((Arc::clone(&claim.device), address - claim.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Constant(u8);

    impl BusDevice for Constant {
        fn read(&self, offset: u64, data: &mut [u8]) {
            data.fill(self.0.wrapping_add(u8::try_from(offset).unwrap()));
        }
        fn write(&self, _offset: u64, _data: &[u8]) -> Action {
            Action::Reset
        }
    }

    fn device(value: u8) -> Arc<dyn BusDevice> {
        Arc::new(Constant(value))
    }

    #[test]
    fn finds_the_device_that_claims_an_address() {
        let bus = Bus::new();
        bus.insert(0x100, 0x10, device(1)).unwrap();
        bus.insert(0x110, 0x10, device(0x20)).unwrap();
        let mut data = [0u8; 2];
        assert!(bus.read(0x112, &mut data));
        assert_eq!(data, [0x22, 0x22]);
        assert!(bus.read(0x10e, &mut data));
        assert_eq!(data, [0x0f, 0x0f]);
        assert!(matches!(bus.write(0x100, &[0]), Some(Action::Reset)));
    }

    #[test]
    fn unclaimed_and_straddling_accesses_read_all_ones() {
        let bus = Bus::new();
        bus.insert(0x100, 4, device(0)).unwrap();
        for address in [0xff, 0x103, 0x104, u64::MAX] {
            let mut data = [0u8; 2];
            assert!(!bus.read(address, &mut data), "{address:#x}");
            assert_eq!(data, [0xff; 2]);
            assert!(bus.write(address, &data).is_none());
        }
        assert!(bus.write(0x100, &[]).is_none());
    }

    #[test]
    fn overlapping_and_wrapping_ranges_are_refused() {
        let bus = Bus::new();
        bus.insert(0x100, 0x10, device(0)).unwrap();
        for (base, size) in [(0x100, 1), (0x10f, 1), (0xff, 2), (0x0, 0x1000)] {
            assert_eq!(bus.insert(base, size, device(1)), Err(BusError::Overlap { base, size }));
        }
        assert!(matches!(bus.insert(u64::MAX, 2, device(1)), Err(BusError::BadRange { .. })));
        assert!(matches!(bus.insert(5, 0, device(1)), Err(BusError::BadRange { .. })));
        bus.insert(u64::MAX, 1, device(1)).unwrap();
    }

    #[test]
    fn only_the_claimant_gives_a_range_up() {
        let bus = Bus::new();
        let mine = device(7);
        bus.insert(0x100, 4, Arc::clone(&mine)).unwrap();
        assert!(!bus.remove(0x100, &device(7)));
        assert!(!bus.remove(0x101, &mine));
        assert!(bus.remove(0x100, &mine));
        assert!(!bus.read(0x100, &mut [0]));
    }
}
