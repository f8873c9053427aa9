//! Configuration mechanism #1: address at port 0xCF8, data at 0xCFC (PCI 3.0 §3.2.2.3.2), with the reset control
//! register that ICH9 hides among them at 0xCF9.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{PciAddress, PciBus};
use crate::bus::{Action, BusDevice};

const ENABLE: u32 = 1 << 31;
/// Enable, bus, device, function, register; everything else is reserved and reads as zero.
const IMPLEMENTED: u32 = 0x80ff_fffc;
/// Offsets from 0xCF8.
const DATA: u64 = 4;
const RESET: u64 = 1;

/// The eight ports from 0xCF8.
pub struct ConfigPorts {
    bus: Arc<PciBus>,
    address: AtomicU32,
    reset: Arc<dyn BusDevice>,
}

impl ConfigPorts {
    /// Ports for the functions on `bus`; byte accesses to 0xCF9 go to `reset`, a device of one byte.
    pub fn new(bus: Arc<PciBus>, reset: Arc<dyn BusDevice>) -> Self {
        Self { bus, address: AtomicU32::new(0), reset }
    }

    /// The address register, for a snapshot.
    pub fn save(&self) -> u32 {
        self.address.load(Ordering::Acquire)
    }

    /// Takes over a saved address register.
    pub fn restore(&self, address: u32) {
        self.address.store(address & IMPLEMENTED, Ordering::Release);
    }

    /// Function and register that an access `offset` bytes into the data port reaches.
    fn target(&self, offset: u64) -> Option<(PciAddress, u16)> {
        let address = self.address.load(Ordering::Acquire);
        let [register, devfn, bus, _] = address.to_le_bytes();
        let byte = u8::try_from(offset & 3).unwrap_or(0);
        (address & ENABLE != 0)
            .then(|| (PciAddress::from_bus_devfn(bus, devfn), u16::from(register & 0xfc | byte)))
    }
}

impl BusDevice for ConfigPorts {
    fn read(&self, offset: u64, data: &mut [u8]) {
        if offset == 0 && data.len() == 4 {
            data.copy_from_slice(&self.address.load(Ordering::Acquire).to_le_bytes());
        } else if offset == RESET && data.len() == 1 {
            self.reset.read(0, data);
        } else if let Some((address, register)) = self.target(offset).filter(|_| offset >= DATA) {
            self.bus.read(address, register, data);
        } else {
            data.fill(0xff);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        if offset == 0 {
            if let Ok(bytes) = data.try_into() {
                self.restore(u32::from_le_bytes(bytes));
            }
            return Action::None;
        }
        if offset == RESET && data.len() == 1 {
            return self.reset.write(0, data);
        }
        match self.target(offset).filter(|_| offset >= DATA) {
            Some((address, register)) => self.bus.write(address, register, data),
            None => Action::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::lpc;

    struct Reset;
    impl BusDevice for Reset {
        fn read(&self, _: u64, data: &mut [u8]) {
            data.fill(0);
        }
        fn write(&self, _: u64, _: &[u8]) -> Action {
            Action::Reset
        }
    }

    fn ports() -> ConfigPorts {
        let bus = Arc::new(PciBus::new());
        assert!(bus.insert(PciAddress::new(0, 0x1f, 0), Arc::new(lpc(0x600))));
        ConfigPorts::new(bus, Arc::new(Reset))
    }

    #[test]
    fn reaches_a_register_by_address_and_data() {
        let ports = ports();
        let _ = ports.write(0, &(0x8000_f840u32).to_le_bytes());
        let mut data = [0; 4];
        ports.read(0, &mut data);
        assert_eq!(u32::from_le_bytes(data), 0x8000_f840);
        let mut word = [0; 2];
        ports.read(4, &mut word);
        assert_eq!(u16::from_le_bytes(word), 0x601);
        let mut byte = [0; 1];
        ports.read(5, &mut byte);
        assert_eq!(byte, [6]);
    }

    #[test]
    fn reset_register_answers_byte_accesses_only() {
        let ports = ports();
        assert!(matches!(ports.write(1, &[6]), Action::Reset));
        assert!(matches!(ports.write(1, &[6, 0]), Action::None));
        let mut byte = [9; 1];
        ports.read(1, &mut byte);
        assert_eq!(byte, [0]);
    }

    #[test]
    fn odd_accesses_are_harmless() {
        let ports = ports();
        let _ = ports.write(0, &u32::MAX.to_le_bytes());
        for offset in 0..8 {
            for len in [1usize, 2, 4, 8] {
                let mut data = vec![0; len];
                ports.read(offset, &mut data);
                if offset != 1 {
                    let _ = ports.write(offset, &data);
                }
            }
        }
    }
}
