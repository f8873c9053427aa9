//! The fixed ACPI description table (ACPI 6.5 §5.2.9): ICH9's power management registers.

use acpi_tables::fadt::{FADT, FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};

use super::table::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::layout::{GPE0, GPE0_LEN, PM_TIMER, PM1A_CNT, PM1A_EVT, RESET_PORT, RESET_VALUE, SCI_IRQ};

/// IAPC_BOOT_ARCH: devices on the LPC bus (the serial port) exist; bit 1, the 8042, stays clear.
const LEGACY_DEVICES: u16 = 1;
/// IAPC_BOOT_ARCH: do not probe for VGA.
const VGA_NOT_PRESENT: u16 = 1 << 2;
/// IAPC_BOOT_ARCH: do not turn on ASPM; there are no links to save power on.
const NO_ASPM: u16 = 1 << 4;
/// Latencies above 100 and 1000 microseconds say that C2 and C3 do not exist.
const NO_C2: u16 = 101;
const NO_C3: u16 = 1001;
const PM1_EVT_LEN: u8 = 4;
const PM1_CNT_LEN: u8 = 2;
const PM_TIMER_LEN: u8 = 4;

/// The table with FACS at `facs` and DSDT at `dsdt`, both below 4 GiB.
///
/// The power button is the fixed-feature one, so its flag stays clear; there is no sleep button. No SMI command port is
/// given: the machine is in ACPI mode from the start. The timer is told as 24 bits wide, which is safe with wider ones.
pub(super) fn fadt(facs: u64, dsdt: u64) -> FADT {
    let low = |addr: u64| u32::try_from(addr).unwrap_or(0);
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .firmware_ctrl_32(low(facs))
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::Unspecified)
        .gpe_info(GPE0.into(), 0, GPE0_LEN, 0, 0)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::ResetRegSup);
    fadt.dsdt = low(dsdt).into();
    fadt.sci_int = u16::try_from(SCI_IRQ).unwrap_or(0).into();
    fadt.pm1a_evt_blk = u32::from(PM1A_EVT).into();
    fadt.pm1a_cnt_blk = u32::from(PM1A_CNT).into();
    fadt.pm_tmr_blk = u32::from(PM_TIMER).into();
    fadt.pm1_evt_len = PM1_EVT_LEN;
    fadt.pm1_cnt_len = PM1_CNT_LEN;
    fadt.pm_tmr_len = PM_TIMER_LEN;
    fadt.x_pm1a_evt_blk = ports(PM1A_EVT, PM1_EVT_LEN, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = ports(PM1A_CNT, PM1_CNT_LEN, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = ports(PM_TIMER, PM_TIMER_LEN, AccessSize::DwordAccess);
    fadt.x_gpe0_blk = ports(GPE0, GPE0_LEN, AccessSize::ByteAccess);
    fadt.p_lvl2_lat = NO_C2.into();
    fadt.p_lvl3_lat = NO_C3.into();
    fadt.iapc_boot_arch = (LEGACY_DEVICES | VGA_NOT_PRESENT | NO_ASPM).into();
    fadt.reset_reg = ports(RESET_PORT, 1, AccessSize::ByteAccess);
    fadt.reset_value = RESET_VALUE;
    fadt.finalize()
}

fn ports(port: u16, length: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, length.saturating_mul(8), 0, access, port.into())
}
