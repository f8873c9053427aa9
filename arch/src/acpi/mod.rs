//! ACPI tables of the q35 machine: RSDP, XSDT, FADT, FACS, DSDT, MADT, MCFG.
//!
//! They promise what the machine has and nothing else: no HPET, no PIT, no 8042, no VGA, no sleep state but soft off.
//! Everything lies in one run from 0xE0000 ([`crate::layout::ACPI_TABLES`]), the RSDP first.

mod dsdt;
mod fadt;
mod madt;
mod table;

#[cfg(test)]
mod tests;

use std::ops::Range;

use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::rsdp::Rsdp;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::GuestRam;
use crate::layout::{ACPI_TABLES, ECAM_BASE, PCI32_WINDOW};
use crate::topology::Topology;
use table::{OEM_ID, table};

/// What the tables have to tell about this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpiConfig {
    /// vCPUs and their APIC ids.
    pub topology: Topology,
    /// 32-bit PCI memory window.
    pub pci32_window: Range<u64>,
    /// 64-bit PCI memory window; none is told if it is empty.
    pub pci64_window: Range<u64>,
    /// Base of the PCI Express configuration space.
    pub ecam_base: u64,
    /// Last PCI bus that exists. Fewer buses are found sooner.
    pub last_bus: u8,
    /// There is a second serial port.
    pub com2: bool,
    /// A pvpanic device answers at [`crate::layout::PVPANIC_PORT`].
    pub pvpanic: bool,
    /// A fw_cfg device answers at [`crate::layout::FW_CFG_PORT`].
    pub fw_cfg: bool,
}

impl AcpiConfig {
    /// The machine with all its platform devices, one serial port and one PCI bus.
    #[must_use]
    pub fn new(topology: Topology, pci64_window: Range<u64>) -> Self {
        Self {
            topology,
            pci32_window: PCI32_WINDOW,
            pci64_window,
            ecam_base: ECAM_BASE,
            last_bus: 0,
            com2: false,
            pvpanic: true,
            fw_cfg: true,
        }
    }
}

/// Why the tables cannot be given to the guest.
#[derive(Debug, thiserror::Error)]
pub enum AcpiError {
    /// The MADT of very many vCPUs.
    #[error("the ACPI tables take {length} bytes, there is room for {room}: give the machine fewer vCPUs")]
    TooLarge {
        /// Bytes they need.
        length: u64,
        /// Bytes there are.
        room: u64,
    },
    /// A window outside its address width, or upside down.
    #[error("the {bits}-bit PCI memory window {start:#x}..{end:#x} is not a window of that width")]
    BadWindow {
        /// Address width of the window.
        bits: u8,
        /// Its first address.
        start: u64,
        /// First address after it.
        end: u64,
    },
    /// Guest memory does not cover the place of the tables.
    #[error("cannot write the ACPI tables into guest memory")]
    Write(#[from] GuestMemoryError),
}

/// Writes the tables into `mem` and returns the address of the RSDP.
///
/// # Errors
/// The tables do not fit, a window is not one, or guest memory does not cover 0xE0000..0xF0000.
pub fn build(mem: &GuestRam, config: &AcpiConfig) -> Result<u64, AcpiError> {
    let rsdp = ACPI_TABLES.start;
    let image = image(config, rsdp)?;
    mem.write_slice(&image, GuestAddress(rsdp))?;
    Ok(rsdp)
}

/// All tables as they lie in memory from `base`, the RSDP first.
fn image(config: &AcpiConfig, base: u64) -> Result<Vec<u8>, AcpiError> {
    let rsdp_room = (Rsdp::len() as u64).next_multiple_of(table::ALIGNMENT);
    let mut tables = table::Placed::new(base + rsdp_room);
    let facs = tables.add_aligned(&bytes_of(&FACS::new()), 64);
    let dsdt = tables.add(&table(*b"DSDT", 2, &dsdt::body(config)?));
    let listed = [
        tables.add(&bytes_of(&fadt::fadt(facs, dsdt))),
        tables.add(&table(*b"APIC", 5, &madt::body(&config.topology))),
        tables.add(&table(*b"MCFG", 1, &mcfg(config))),
    ];
    let pointers: Vec<u8> = listed.into_iter().flat_map(u64::to_le_bytes).collect();
    let xsdt = tables.add(&table(*b"XSDT", 1, &pointers));

    let mut image = bytes_of(&Rsdp::new(OEM_ID, xsdt));
    image.resize(usize::try_from(rsdp_room).unwrap_or(image.len()), 0);
    image.extend_from_slice(tables.bytes());
    let (length, room) = (image.len() as u64, ACPI_TABLES.end - ACPI_TABLES.start);
    if length > room { Err(AcpiError::TooLarge { length, room }) } else { Ok(image) }
}

/// One configuration space for segment 0 (PCI Firmware 3.3 §4.1.2).
fn mcfg(config: &AcpiConfig) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&config.ecam_base.to_le_bytes());
    body.extend_from_slice(&[0, 0, 0, config.last_bus, 0, 0, 0, 0]);
    body
}

fn bytes_of(aml: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    aml.to_aml_bytes(&mut bytes);
    bytes
}
