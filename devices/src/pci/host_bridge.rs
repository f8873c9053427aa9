//! 00:00.0, the Q35 memory controller hub's host bridge (Intel 3 Series Express Chipset Family datasheet §5).

use super::{ConfigSpace, FixedFunction, Identity};

const PCIEXBAR: usize = 0x60;

/// The host bridge of a machine whose ECAM of 256 MiB lies at `ecam_base`. PCIEXBAR says so and cannot be moved:
/// the address is fixed in the machine's plan.
pub fn host_bridge(ecam_base: u64) -> FixedFunction {
    let mut config = ConfigSpace::new(Identity {
        vendor: 0x8086,
        device: 0x29c0,
        revision: 0,
        class: 0x06_00_00,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
    });
    // Enable bit 0; length bits 2:1 are 0 for 256 MiB.
    config.put(PCIEXBAR, &(ecam_base | 1).to_le_bytes());
    FixedFunction::new(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::PciFunction;

    #[test]
    fn says_where_ecam_is_and_keeps_to_it() {
        let bridge = host_bridge(0xb000_0000);
        let _ = bridge.write_config(0x60, &[0; 8]);
        let mut data = [0; 4];
        bridge.read_config(0x60, &mut data);
        assert_eq!(u32::from_le_bytes(data), 0xb000_0001);
        bridge.read_config(0, &mut data);
        assert_eq!(u32::from_le_bytes(data), 0x29c0_8086);
        let _ = bridge.write_config(0x3c, &[5]);
        let other = host_bridge(0xb000_0000);
        other.restore(&bridge.save());
        assert_eq!(other.save(), bridge.save());
    }
}
