//! Root ports: the slots for devices that come while the machine runs.

use std::ops::Range;

use devices::pci::PciAddress;
use serde::{Deserialize, Serialize};
use spec::api::VirtualMachineInstance;

use super::PlanError;
use super::pci::{Allocator, PciPlan};

/// Where a manifest says how many slots it wants.
const SLOTS: &str = "metadata.annotations[kubevmm.io/hotplug-slots]";
/// Most slots that can be asked for.
const MOST_PORTS: u8 = 16;
/// Memory that a port forwards, below 4 GiB and above RAM each. One MiB is the least; Linux likes two.
const FORWARDED: u64 = 2 << 20;
/// Where the ports' memory above RAM begins: past the windows of all functions of bus 0.
const PREFETCHABLE_OFFSET: u64 = 32 << 20;
/// Interrupts kept for the device in a slot: a card of 64 queue pairs has 130.
const CARD_VECTORS: u16 = 136;

/// A root port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortPlan {
    /// Where the port itself sits.
    pub address: PciAddress,
    /// The bus behind it, at power-on; also the number of its slot.
    pub bus: u8,
    /// Memory below 4 GiB that it forwards.
    pub memory: Range<u64>,
    /// Memory above RAM that it forwards; the window of the device in its slot begins here.
    pub prefetchable: Range<u64>,
    /// Interrupt route of the port.
    pub gsi: u32,
    /// First of the interrupt routes kept for the device in its slot.
    pub first_gsi: u32,
}

impl PortPlan {
    /// Where the device in the slot is found at power-on.
    pub fn card(&self) -> PciAddress {
        PciAddress::new(self.bus, 0, 0)
    }

    /// Whether there are enough interrupt routes for a device with so many vectors.
    pub fn has_room_for(&self, vectors: u16) -> bool {
        vectors <= CARD_VECTORS
    }
}

/// How many ports the manifest wants: none unless it says so, because each takes time at boot.
pub(super) fn wanted(vmi: &VirtualMachineInstance) -> Result<u8, PlanError> {
    if vmi.spec.domain.devices.disable_hotplug {
        return Ok(0);
    }
    let number = |text: &String| {
        text.parse().map_err(|_| PlanError::at(SLOTS, format!("{text:?} is not a number up to {MOST_PORTS}")))
    };
    vmi.metadata.annotations.get("kubevmm.io/hotplug-slots").map_or(Ok(0), number)
}

/// Plans `count` ports on bus 0.
pub(super) fn plan(count: u8, pci: &PciPlan, allocator: &mut Allocator) -> Result<Vec<PortPlan>, PlanError> {
    if count > MOST_PORTS {
        return Err(PlanError::at(SLOTS, format!("a machine can have {MOST_PORTS} slots at most")));
    }
    (1..=count).map(|bus| port(bus, pci, allocator)).collect()
}

fn port(bus: u8, pci: &PciPlan, allocator: &mut Allocator) -> Result<PortPlan, PlanError> {
    let full =
        || PlanError::at("spec.domain.devices", "the machine's PCI bus has no room for slots to plug into");
    let place = allocator.port(CARD_VECTORS).ok_or_else(full)?;
    let behind = |start: u64| {
        let start = start + u64::from(bus) * FORWARDED;
        start..start + FORWARDED
    };
    let port = PortPlan {
        address: place.address,
        bus,
        memory: behind(pci.mmio32.start),
        prefetchable: behind(pci.mmio64.start + PREFETCHABLE_OFFSET),
        gsi: place.first_gsi,
        first_gsi: place.first_gsi + 1,
    };
    if port.memory.end > pci.mmio32.end || port.prefetchable.end > pci.mmio64.end {
        return Err(full());
    }
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{memory, pci};

    #[test]
    fn ports_share_nothing_with_each_other_or_with_functions() {
        let memory = memory::plan(1 << 30, None).unwrap();
        let pci = pci::plan(&memory, 40).unwrap();
        let mut allocator = Allocator::new(&pci);
        let functions: Vec<_> = (0..20).map(|_| allocator.place(5).unwrap()).collect();
        let ports = plan(4, &pci, &mut allocator).unwrap();
        assert!(plan(17, &pci, &mut allocator).is_err());
        let last = functions.last().unwrap();
        assert!(ports.iter().all(|port| port.prefetchable.start > last.window && port.gsi > last.first_gsi));
        for pair in ports.windows(2) {
            assert!(pair[0].prefetchable.end <= pair[1].prefetchable.start);
            assert!(pair[0].memory.end <= pair[1].memory.start);
            assert!(pair[0].first_gsi + u32::from(CARD_VECTORS) <= pair[1].gsi);
            assert_ne!(pair[0].address, pair[1].address);
        }
        assert!(functions.iter().all(|place| ports.iter().all(|port| port.address != place.address)));
        assert!(
            ports.iter().all(|port| (port.memory.start | port.prefetchable.start).is_multiple_of(1 << 20))
        );
    }
}
