//! Where everything lies: the addresses, ports and interrupt numbers of the q35 machine.
//!
//! They are QEMU's q35 values wherever a guest can see them, so that firmware and drivers written for that machine
//! find what they expect.

mod ram;

pub use ram::{E820Entry, E820Type, RamError, RamLayout, RamRegion};

use std::ops::Range;

/// Granule of guest RAM sizes and of every mapping: 4 KiB.
pub const PAGE_SIZE: u64 = 0x1000;

// Low memory, below 1 MiB: what the boot code writes before the first instruction.

/// Global descriptor table of the 64-bit Linux entry.
pub const BOOT_GDT: u64 = 0x500;
/// `hvm_start_info` of the PVH entry.
pub const PVH_START_INFO: u64 = 0x6000;
/// `hvm_modlist_entry` of the initrd, for the PVH entry.
pub const PVH_MODLIST: u64 = 0x6040;
/// `hvm_memmap_table_entry` list, for the PVH entry.
pub const PVH_MEMMAP: u64 = 0x6100;
/// Linux `boot_params`, the "zero page", for the 64-bit entry.
pub const ZERO_PAGE: u64 = 0x7000;
/// Initial stack pointer of the 64-bit entry (grows down, below the page tables).
pub const BOOT_STACK: u64 = 0x8FF0;
/// Top level page table of the 64-bit entry; the next level and the page directories follow, a page each.
pub const BOOT_PML4: u64 = 0x9000;
/// Kernel command line, NUL-terminated.
pub const CMDLINE: u64 = 0x2_0000;
/// Room for the command line including its NUL.
pub const CMDLINE_ROOM: u64 = 0x1_0000;
/// End of conventional memory given to the guest; one KiB up to 640 KiB is kept as QEMU keeps it for an EBDA.
pub const LOW_MEMORY_END: u64 = 0x9_FC00;
/// The virtual machine generation ID: 16 bytes that change when the machine is not the only one of its past any more. They
/// lie in what is kept of low memory, which operating systems leave alone.
pub const GENERATION_ID: u64 = 0x9_FD00;
/// End of the conventional 640 KiB.
pub const CONVENTIONAL_END: u64 = 0xA_0000;
/// ACPI tables; the RSDP is the first of them, where a scan of the BIOS area finds it too (ACPI 6.5 §5.2.5.1).
pub const ACPI_TABLES: Range<u64> = 0xE_0000..0xF_0000;
/// SMBIOS entry point and structures (SMBIOS 3.0 §5.2: entry point on 16 bytes within 0xF0000..0xFFFFF).
pub const SMBIOS_TABLES: Range<u64> = 0xF_0000..0x10_0000;
/// Lowest address a kernel may occupy: everything below belongs to the boot data and the firmware tables.
pub const KERNEL_MIN: u64 = 0x10_0000;

// RAM and the 32-bit hole.

/// End of RAM below 4 GiB, when the guest has that much: q35 with ECAM at 0xB000_0000 keeps 2 GiB there.
pub const LOW_RAM_END: u64 = 0x8000_0000;
/// Start of the RAM that does not fit below [`LOW_RAM_END`].
pub const HIGH_RAM_START: u64 = 0x1_0000_0000;
/// PCI Express memory-mapped configuration space (PCIEXBAR).
pub const ECAM_BASE: u64 = 0xB000_0000;
/// Size of the configuration space: 1 MiB for each of 256 buses.
pub const ECAM_SIZE: u64 = 0x1000_0000;
/// 32-bit PCI memory window.
pub const PCI32_WINDOW: Range<u64> = 0xC000_0000..0xFEC0_0000;
/// The I/O APIC in KVM's in-kernel interrupt controller.
pub const IOAPIC_BASE: u64 = 0xFEC0_0000;
/// The I/O APIC's id. Local APIC ids share the space in theory only: nothing routes by it.
pub const IOAPIC_ID: u8 = 0;
/// Interrupt inputs of the I/O APIC, and so the number of GSIs before any MSI route.
pub const IOAPIC_PINS: u32 = 24;
/// Local APIC page, the same for every vCPU.
pub const LAPIC_BASE: u64 = 0xFEE0_0000;
/// The page of the virtual machine clock, as QEMU has it.
pub const VMCLOCK_BASE: u64 = 0xFEFF_B000;
/// Page for `KVM_SET_IDENTITY_MAP_ADDR`, below the flash.
pub const KVM_IDENTITY_MAP: u64 = 0xFEFF_C000;
/// Three pages for `KVM_SET_TSS_ADDR`, right after the identity map.
pub const KVM_TSS: u64 = 0xFEFF_D000;
/// Where firmware flash ends; it grows down from here.
pub const FLASH_END: u64 = 0x1_0000_0000;

// I/O ports.

/// ICH9 power management block (PMBASE): PM1a event and control, PM timer, GPE0.
pub const PMBASE: u16 = 0x600;
/// Length of the block behind [`PMBASE`].
pub const PM_LEN: u16 = 0x80;
/// PM1a event block: status at +0, enable at +2 (4 bytes).
pub const PM1A_EVT: u16 = PMBASE;
/// PM1a control block (2 bytes).
pub const PM1A_CNT: u16 = PMBASE + 0x04;
/// ACPI power management timer, 3.579545 MHz, 24 bits (4 bytes).
pub const PM_TIMER: u16 = PMBASE + 0x08;
/// General purpose event block 0: status, then enable (16 bytes).
pub const GPE0: u16 = PMBASE + 0x20;
/// Length of the GPE0 block.
pub const GPE0_LEN: u8 = 16;
/// General-purpose event that tells of a new [`GENERATION_ID`].
pub const GENERATION_GPE: u8 = 5;
/// General-purpose event that tells of a change in the page at [`VMCLOCK_BASE`].
pub const VMCLOCK_GPE: u8 = 6;
/// Sleep type that `\_S5` gives for PM1a control: soft off, as on QEMU's q35.
pub const SLP_TYP_S5: u8 = 0;
/// Reset control register of the PIIX/ICH family.
pub const RESET_PORT: u16 = 0xCF9;
/// Value that resets the machine when written to [`RESET_PORT`].
pub const RESET_VALUE: u8 = 0x06;
/// PCI configuration mechanism #1: address port; the data port follows at 0xCFC.
pub const PCI_CONFIG_ADDRESS: u16 = 0xCF8;
/// First serial port.
pub const COM1_PORT: u16 = 0x3F8;
/// Second serial port.
pub const COM2_PORT: u16 = 0x2F8;
/// Ports of a 16550.
pub const COM_LEN: u8 = 8;
/// CMOS index and data ports.
pub const RTC_PORT: u16 = 0x70;
/// Keyboard controller data port.
pub const I8042_DATA: u16 = 0x60;
/// Keyboard controller command and status port.
pub const I8042_COMMAND: u16 = 0x64;
/// fw_cfg selector; data follows at +1, the DMA address at +4.
pub const FW_CFG_PORT: u16 = 0x510;
/// Ports of fw_cfg with its DMA interface.
pub const FW_CFG_LEN: u8 = 0x0C;
/// pvpanic event port.
pub const PVPANIC_PORT: u16 = 0x505;

// Global system interrupts.

/// COM2, edge triggered.
pub const COM2_IRQ: u32 = 3;
/// COM1, edge triggered.
pub const COM1_IRQ: u32 = 4;
/// Real time clock, edge triggered.
pub const RTC_IRQ: u32 = 8;
/// ACPI system control interrupt: level triggered, active high on KVM's I/O APIC.
pub const SCI_IRQ: u32 = 9;
