//! Windows of the PCI host bridge, and the slots behind it.

use std::ops::Range;

use devices::pci::PciAddress;
use serde::{Deserialize, Serialize};

use super::{MemoryPlan, PlanError};

/// Slots for devices: 0 is the host bridge's, 31 the LPC bridge's.
const SLOTS: Range<u8> = 1..31;
/// Functions of a slot.
const FUNCTIONS: u8 = 8;
/// Distance between the windows of two functions.
const WINDOW_STRIDE: u64 = 0x1_0000;

/// Where PCI windows lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PciPlan {
    /// Enhanced configuration access, 256 MiB.
    pub ecam: u64,
    /// Memory window below 4 GiB.
    pub mmio32: Range<u64>,
    /// Memory window above RAM.
    pub mmio64: Range<u64>,
    /// Highest bus number; ACPI names no more buses than there are.
    pub last_bus: u8,
}

impl PciPlan {
    /// The same with so many buses behind root ports.
    pub(super) fn with_ports(mut self, ports: u8) -> Self {
        self.last_bus = ports;
        self
    }
}

/// Plans the windows of a machine with `memory` on a processor with `phys_bits` physical address bits.
pub(super) fn plan(memory: &MemoryPlan, phys_bits: u8) -> Result<PciPlan, PlanError> {
    let mmio64 = memory.ram.pci64_window(phys_bits);
    if !memory.ram.fits(phys_bits) || mmio64.is_empty() {
        return Err(PlanError::at(
            "spec.domain.memory.guest",
            format!("this host's processor reaches {phys_bits} bits of memory: ask for less"),
        ));
    }
    Ok(PciPlan { ecam: arch::layout::ECAM_BASE, mmio32: arch::layout::PCI32_WINDOW, mmio64, last_bus: 0 })
}

/// Gives out slots, windows and interrupts, one function after the other.
pub(super) struct Allocator {
    next: u8,
    next_gsi: u32,
    window: u64,
}

/// What one function was given.
pub(super) struct Place {
    pub(super) address: PciAddress,
    pub(super) window: u64,
    pub(super) first_gsi: u32,
}

impl Allocator {
    pub(super) fn new(pci: &PciPlan) -> Self {
        Self { next: 0, next_gsi: arch::layout::IOAPIC_PINS, window: pci.mmio64.start }
    }

    /// A place for a function with `vectors` interrupts; `None` when the bus is full.
    pub(super) fn place(&mut self, vectors: u16) -> Option<Place> {
        let place = Place { address: self.address()?, window: self.window, first_gsi: self.next_gsi };
        self.next_gsi += u32::from(vectors);
        self.window += WINDOW_STRIDE;
        Some(place)
    }

    /// A place for a port with an interrupt of its own, and `vectors` for the device behind it; its window says nothing.
    pub(super) fn port(&mut self, vectors: u16) -> Option<Place> {
        let place = Place { address: self.address()?, window: 0, first_gsi: self.next_gsi };
        self.next_gsi += 1 + u32::from(vectors);
        Some(place)
    }

    /// A place for a function without window and interrupts.
    pub(super) fn address(&mut self) -> Option<PciAddress> {
        let slots = SLOTS.end - SLOTS.start;
        let (function, slot) = (self.next / slots, SLOTS.start + self.next % slots);
        if function >= FUNCTIONS {
            return None;
        }
        self.next += 1;
        Some(PciAddress::new(0, slot, function))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::memory;

    #[test]
    fn slots_are_filled_before_functions() {
        let memory = memory::plan(1 << 30, None).unwrap();
        let pci = plan(&memory, 40).unwrap();
        let mut allocator = Allocator::new(&pci);
        let places: Vec<_> = std::iter::from_fn(|| allocator.place(2)).collect();
        assert_eq!(places.len(), 240);
        assert_eq!(places[0].address.to_string(), "00:01.0");
        assert_eq!(places[29].address.to_string(), "00:1e.0");
        assert_eq!(places[30].address.to_string(), "00:01.1");
        assert_eq!(places[1].first_gsi, 26);
        assert!(places.windows(2).all(|pair| pair[0].window + 0x8000 <= pair[1].window));
        assert!(places.iter().all(|place| pci.mmio64.contains(&place.window)));
    }

    #[test]
    fn memory_beyond_the_processors_reach_is_refused() {
        let memory = memory::plan(70 << 30, None).unwrap();
        assert!(plan(&memory, 36).is_err());
        assert!(plan(&memory, 40).is_ok());
    }
}
