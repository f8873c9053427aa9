//! The functions of a machine, and the memory-mapped way to their configuration spaces.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{PciAddress, PciFunction, RootPort};
use crate::bus::{Action, BusDevice};

/// All functions that are present, by address.
#[derive(Default)]
pub struct PciBus {
    functions: RwLock<BTreeMap<PciAddress, Arc<dyn PciFunction>>>,
    /// The ways to other buses, which are the functions' own to number.
    ports: RwLock<Vec<Arc<RootPort>>>,
}

impl PciBus {
    /// A bus without functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plugs `function` in at `address`; false if something is there already.
    pub fn insert(&self, address: PciAddress, function: Arc<dyn PciFunction>) -> bool {
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        let free = !functions.contains_key(&address);
        if free {
            functions.insert(address, function);
        }
        free
    }

    /// Plugs a root port in; what is behind it is found by the number that the guest gives to its bus.
    pub fn insert_port(&self, address: PciAddress, port: Arc<RootPort>) -> bool {
        let free = self.insert(address, Arc::clone(&port) as Arc<dyn PciFunction>);
        if free {
            self.ports.write().unwrap_or_else(PoisonError::into_inner).push(port);
        }
        free
    }

    /// Reads configuration space; an absent function reads as all ones.
    pub fn read(&self, address: PciAddress, offset: u16, data: &mut [u8]) {
        match self.get(address) {
            Some(function) => function.read_config(offset, data),
            None => data.fill(0xff),
        }
    }

    /// Writes configuration space.
    pub fn write(&self, address: PciAddress, offset: u16, data: &[u8]) -> Action {
        self.get(address).map_or(Action::None, |function| function.write_config(offset, data))
    }

    fn get(&self, address: PciAddress) -> Option<Arc<dyn PciFunction>> {
        if address.bus() == 0 {
            return self.functions.read().unwrap_or_else(PoisonError::into_inner).get(&address).cloned();
        }
        let ports = self.ports.read().unwrap_or_else(PoisonError::into_inner);
        ports.iter().find_map(|port| port.behind(address))
    }
}

/// The enhanced configuration access mechanism: 4 KiB of memory a function (PCIe 5.0 §7.2.2).
pub struct Ecam(pub Arc<PciBus>);

impl Ecam {
    fn split(offset: u64) -> (PciAddress, u16) {
        let [low, high, ..] = (offset & 0xfff).to_le_bytes();
        let [devfn, bus, ..] = (offset >> 12).to_le_bytes();
        (PciAddress::from_bus_devfn(bus, devfn), u16::from_le_bytes([low, high]))
    }
}

impl BusDevice for Ecam {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let (address, register) = Self::split(offset);
        self.0.read(address, register, data);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let (address, register) = Self::split(offset);
        self.0.write(address, register, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ecam_offset_names_function_and_register() {
        let (address, register) = Ecam::split(0x41 << 20 | 0x0f << 12 | 0x8a4);
        assert_eq!((address.to_string().as_str(), register), ("41:01.7", 0x8a4));
        let (address, register) = Ecam::split(0x1f << 15 | 0x40);
        assert_eq!((address.to_string().as_str(), register), ("00:1f.0", 0x40));
    }

    #[test]
    fn absent_functions_read_as_ones() {
        let ecam = Ecam(Arc::new(PciBus::new()));
        let mut data = [0; 4];
        ecam.read(0xf_f000, &mut data);
        assert_eq!(data, [0xff; 4]);
        assert!(matches!(ecam.write(0, &[0]), Action::None));
    }
}
