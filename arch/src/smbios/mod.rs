//! SMBIOS 3.0: entry point at 0xF0000 and the structures that name the machine.
//!
//! Defaults are the strings that KubeVirt gives its machines, so that tools which look for them
//! (`dmidecode -s system-manufacturer`) find the same.

mod structure;

#[cfg(test)]
mod tests;

use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::GuestRam;
use crate::layout::{RamLayout, SMBIOS_TABLES};
use crate::topology::Topology;
use structure::Structures;

/// Longest string, in bytes. SMBIOS itself sets no limit since 2.7.
pub const MAX_STRING: usize = 256;

const ENTRY_POINT_LENGTH: u8 = 24;
/// Structures follow the entry point on the next 16-byte boundary.
const STRUCTURES: u64 = SMBIOS_TABLES.start + 0x20;

/// Type 1: the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemInfo {
    /// Manufacturer; empty for none, as everywhere here.
    pub manufacturer: String,
    /// Product name.
    pub product: String,
    /// Version.
    pub version: String,
    /// Serial number (`firmware.serial`).
    pub serial: String,
    /// SKU number.
    pub sku: String,
    /// Family.
    pub family: String,
}

impl Default for SystemInfo {
    fn default() -> Self {
        Self {
            manufacturer: "KubeVirt".into(),
            product: "None".into(),
            version: String::new(),
            serial: String::new(),
            sku: String::new(),
            family: "KubeVirt".into(),
        }
    }
}

/// Type 3: the chassis (`domain.chassis`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChassisInfo {
    /// Manufacturer.
    pub manufacturer: String,
    /// Version.
    pub version: String,
    /// Serial number.
    pub serial: String,
    /// Asset tag.
    pub asset_tag: String,
    /// SKU number.
    pub sku: String,
}

/// What the tables say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmbiosConfig {
    /// The machine's UUID, in the order it is written (RFC 9562).
    pub uuid: [u8; 16],
    /// The system.
    pub system: SystemInfo,
    /// The chassis.
    pub chassis: ChassisInfo,
    /// Sockets and what is in them.
    pub topology: Topology,
    /// Memory.
    pub ram: RamLayout,
}

impl SmbiosConfig {
    /// A machine with KubeVirt's default strings.
    #[must_use]
    pub fn new(uuid: [u8; 16], topology: Topology, ram: RamLayout) -> Self {
        Self { uuid, system: SystemInfo::default(), chassis: ChassisInfo::default(), topology, ram }
    }
}

/// Why the tables cannot be given to the guest.
#[derive(Debug, thiserror::Error)]
pub enum SmbiosError {
    /// A string is longer than [`MAX_STRING`].
    #[error("the {field} in the SMBIOS tables has {length} bytes, at most {MAX_STRING} are possible")]
    StringTooLong {
        /// Which string.
        field: &'static str,
        /// Its length.
        length: usize,
    },
    /// A string has a NUL or another control character in it.
    #[error("the {field} in the SMBIOS tables contains a control character")]
    ControlCharacter {
        /// Which string.
        field: &'static str,
    },
    /// All structures together do not fit.
    #[error(
        "the SMBIOS tables take {length} bytes, there is room for {room}: give the machine fewer sockets"
    )]
    TooLarge {
        /// Bytes they need.
        length: u64,
        /// Bytes there are.
        room: u64,
    },
    /// Guest memory does not cover the place of the tables.
    #[error("cannot write the SMBIOS tables into guest memory")]
    Write(#[from] GuestMemoryError),
}

/// Writes entry point and structures into `mem` and returns the address of the entry point.
///
/// # Errors
/// A string is too long or has control characters, or guest memory does not cover 0xF0000..0x100000.
pub fn build(mem: &GuestRam, config: &SmbiosConfig) -> Result<u64, SmbiosError> {
    let structures = Structures::of(config)?;
    let room = SMBIOS_TABLES.end - STRUCTURES;
    let length = structures.len() as u64;
    if length > room {
        return Err(SmbiosError::TooLarge { length, room });
    }
    let entry = entry_point(u32::try_from(length).unwrap_or(0));
    mem.write_slice(&entry, GuestAddress(SMBIOS_TABLES.start))?;
    mem.write_slice(&structures, GuestAddress(STRUCTURES))?;
    Ok(SMBIOS_TABLES.start)
}

/// The 64-bit entry point (SMBIOS 3.0 §5.2.2).
fn entry_point(length: u32) -> Vec<u8> {
    let mut entry = Vec::with_capacity(ENTRY_POINT_LENGTH.into());
    entry.extend_from_slice(b"_SM3_");
    // Checksum, length, version 3.0, document revision 0, entry point revision 1, reserved.
    entry.extend_from_slice(&[0, ENTRY_POINT_LENGTH, 3, 0, 0, 1, 0]);
    entry.extend_from_slice(&length.to_le_bytes());
    entry.extend_from_slice(&STRUCTURES.to_le_bytes());
    let sum = entry.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(checksum) = entry.get_mut(5) {
        *checksum = sum.wrapping_neg();
    }
    entry
}
