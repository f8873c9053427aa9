//! The two address spaces of a machine.

use devices::bus::{Bus, Remap, Space};

/// Memory-mapped and port I/O.
#[derive(Default)]
pub struct AddressSpace {
    /// Memory addresses outside RAM.
    pub mmio: Bus,
    /// Ports.
    pub pio: Bus,
}

impl AddressSpace {
    /// Moves device windows. A window that the guest put over another one is not decoded, as on real hardware
    /// nothing good comes of it either.
    pub fn remap(&self, remaps: Vec<Remap>) {
        for remap in remaps {
            let bus = match remap.space {
                Space::Mmio => &self.mmio,
                Space::Pio => &self.pio,
            };
            if let Some(from) = remap.from {
                bus.remove(from, &remap.device);
            }
            if let Some(to) = remap.to
                && let Err(error) = bus.insert(to, remap.size, remap.device)
            {
                eprintln!("kubevmm: the guest misplaced a device's window: {error}");
            }
        }
    }
}
