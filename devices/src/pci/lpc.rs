//! 00:1f.0, the ICH9 LPC bridge (Intel I/O Controller Hub 9 datasheet §13).

use super::{ConfigSpace, FixedFunction, Identity};

const PMBASE: usize = 0x40;
const ACPI_CNTL: usize = 0x44;
const ACPI_ENABLE: u8 = 1 << 7;
const PIRQ: [usize; 8] = [0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6a, 0x6b];
/// PIRQx routing: not routed to the 8259s.
const PIRQ_DISABLED: u8 = 0x80;

/// The LPC bridge of a machine whose ACPI registers lie at port `pm_base`. PMBASE says so and cannot be moved; the
/// SCI is interrupt 9.
pub fn lpc(pm_base: u16) -> FixedFunction {
    let mut config = ConfigSpace::new(Identity {
        vendor: 0x8086,
        device: 0x2918,
        revision: 2,
        class: 0x06_01_00,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
    });
    config.put(PMBASE, &(u32::from(pm_base) | 1).to_le_bytes());
    config.put(ACPI_CNTL, &[ACPI_ENABLE]);
    for register in PIRQ {
        config.put(register, &[PIRQ_DISABLED]);
        config.allow(register, &[0x8f]);
    }
    FixedFunction::new(config)
}

#[cfg(test)]
mod tests {
    use crate::pci::PciFunction;

    #[test]
    fn says_where_the_acpi_registers_are() {
        let lpc = super::lpc(0x600);
        let _ = lpc.write_config(0x40, &[0; 8]);
        let mut data = [0; 4];
        lpc.read_config(0x40, &mut data);
        assert_eq!(u32::from_le_bytes(data), 0x601);
        lpc.read_config(0x44, &mut data);
        assert_eq!(data[0], 0x80);
        let _ = lpc.write_config(0x60, &[0xff, 3]);
        lpc.read_config(0x60, &mut data);
        assert_eq!(data, [0x8f, 3, 0x80, 0x80]);
        let other = super::lpc(0x600);
        other.restore(&lpc.save());
        assert_eq!(other.save(), lpc.save());
    }
}
