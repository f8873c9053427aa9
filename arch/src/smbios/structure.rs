//! The SMBIOS structures (DSP0134 3.0 §7): a formatted area, then its strings.

use std::ops::Deref;

use super::{MAX_STRING, SmbiosConfig, SmbiosError};
use crate::layout::{KERNEL_MIN, RamLayout};
use crate::topology::Topology;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Handle of the memory array that the memory device and the mapped ranges refer to.
const MEMORY_ARRAY: u16 = 0x1000;
/// "No handle": no error information, no cache, no object.
const NONE: u16 = 0xFFFF;
/// Enumerations of many types have "Other" at 1 and "Unknown" at 2.
const OTHER: u8 = 1;
const UNKNOWN: u8 = 2;

/// All structures, encoded.
#[derive(Debug)]
pub(super) struct Structures(Vec<u8>);

impl Deref for Structures {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Structures {
    pub(super) fn of(config: &SmbiosConfig) -> Result<Self, SmbiosError> {
        let mut all = Self(Vec::with_capacity(1024));
        all.push(bios()?);
        all.push(system(config)?);
        all.push(chassis(config)?);
        for socket in 0..config.topology.sockets() {
            all.push(processor(socket, &config.topology)?);
        }
        all.push(memory_array(&config.ram));
        all.push(memory_device(&config.ram)?);
        for (number, region) in (0..).zip(config.ram.regions()) {
            all.push(mapped_range(number, region.start, region.end()));
        }
        all.push(Structure::new(127, 0x7F00));
        Ok(all)
    }

    fn push(&mut self, structure: Structure) {
        let length = structure.formatted.len() + 4;
        let [low, high] = structure.handle.to_le_bytes();
        self.0.extend_from_slice(&[structure.kind, u8::try_from(length).unwrap_or(u8::MAX), low, high]);
        self.0.extend_from_slice(&structure.formatted);
        self.0.extend_from_slice(&structure.strings);
        // A structure without strings ends in two zeros, one with strings in one more than its last string.
        self.0.extend_from_slice(if structure.strings.is_empty() { &[0, 0] } else { &[0] });
    }
}

/// One structure in the making.
struct Structure {
    kind: u8,
    handle: u16,
    formatted: Vec<u8>,
    strings: Vec<u8>,
    count: u8,
}

impl Structure {
    fn new(kind: u8, handle: u16) -> Self {
        Self { kind, handle, formatted: Vec::new(), strings: Vec::new(), count: 0 }
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.formatted.extend_from_slice(bytes);
        self
    }

    fn word(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn dword(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn qword(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Puts in the number of a string: 0 for an empty one.
    fn string(mut self, field: &'static str, text: &str) -> Result<Self, SmbiosError> {
        if text.is_empty() {
            return Ok(self.bytes(&[0]));
        }
        if text.len() > MAX_STRING {
            return Err(SmbiosError::StringTooLong { field, length: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(SmbiosError::ControlCharacter { field });
        }
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.count += 1;
        let number = self.count;
        Ok(self.bytes(&[number]))
    }
}

fn bios() -> Result<Structure, SmbiosError> {
    const NO_CHARACTERISTICS: u64 = 1 << 3;
    // Extension byte 1: ACPI. Byte 2: this is a virtual machine.
    const EXTENSIONS: [u8; 2] = [1, 1 << 4];
    Ok(Structure::new(0, 0)
        .string("BIOS vendor", "kubevmm")?
        .string("BIOS version", env!("CARGO_PKG_VERSION"))?
        .word(0xE000)
        .string("BIOS date", "01/01/2026")?
        .bytes(&[0])
        .qword(NO_CHARACTERISTICS)
        .bytes(&EXTENSIONS)
        .bytes(&[0, 0, 0xFF, 0xFF]))
}

fn system(config: &SmbiosConfig) -> Result<Structure, SmbiosError> {
    const POWER_SWITCH: u8 = 6;
    let system = &config.system;
    Structure::new(1, 0x100)
        .string("system manufacturer", &system.manufacturer)?
        .string("system product", &system.product)?
        .string("system version", &system.version)?
        .string("system serial number", &system.serial)?
        .bytes(&mixed_endian(config.uuid))
        .bytes(&[POWER_SWITCH])
        .string("system SKU", &system.sku)?
        .string("system family", &system.family)
}

/// The first three fields of a UUID are little-endian here (§7.2.1).
fn mixed_endian(uuid: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = uuid;
    let mut out = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
    for (place, byte) in out.iter_mut().skip(8).zip(rest) {
        *place = byte;
    }
    out
}

fn chassis(config: &SmbiosConfig) -> Result<Structure, SmbiosError> {
    const SAFE: u8 = 3;
    let chassis = &config.chassis;
    Structure::new(3, 0x300)
        .string("chassis manufacturer", &chassis.manufacturer)?
        .bytes(&[OTHER])
        .string("chassis version", &chassis.version)?
        .string("chassis serial number", &chassis.serial)?
        .string("chassis asset tag", &chassis.asset_tag)?
        // States of boot-up, power supply and temperature; security unknown; no OEM word, height, cords, elements.
        .bytes(&[SAFE, SAFE, SAFE, UNKNOWN])
        .dword(0)
        .bytes(&[0, 0, 0, 0])
        .string("chassis SKU", &chassis.sku)
}

fn processor(socket: u32, topology: &Topology) -> Result<Structure, SmbiosError> {
    const CENTRAL: u8 = 3;
    const POPULATED_ENABLED: u8 = 0x41;
    let number = u16::try_from(socket).unwrap_or(NONE);
    let short = |count: u32| u8::try_from(count).unwrap_or(u8::MAX);
    let long = |count: u32| u16::try_from(count).unwrap_or(NONE);
    let (cores, threads) = (topology.cores(), topology.vcpus_per_socket());
    Ok(Structure::new(4, 0x400 + number)
        .string("socket", &format!("CPU {socket}"))?
        .bytes(&[CENTRAL, OTHER, 0])
        // Processor id, version, voltage, clock and speeds: unknown, CPUID has them.
        .qword(0)
        .bytes(&[0, 0])
        .dword(0)
        .word(0)
        .bytes(&[POPULATED_ENABLED, OTHER])
        .word(NONE)
        .word(NONE)
        .word(NONE)
        .bytes(&[0, 0, 0, short(cores), short(cores), short(threads)])
        // 64-bit capable, multi-core or not does not matter to anyone; family "Other" once more.
        .word(1 << 2)
        .word(OTHER.into())
        .word(long(cores))
        .word(long(cores))
        .word(long(threads)))
}

fn memory_array(ram: &RamLayout) -> Structure {
    const SYSTEM_MEMORY: u8 = 3;
    const MULTI_BIT_ECC: u8 = 6;
    const SEE_EXTENDED: u32 = 0x8000_0000;
    Structure::new(16, MEMORY_ARRAY)
        .bytes(&[OTHER, SYSTEM_MEMORY, MULTI_BIT_ECC])
        .dword(SEE_EXTENDED)
        .word(NONE - 1)
        .word(1)
        .qword(ram.bytes())
}

fn memory_device(ram: &RamLayout) -> Result<Structure, SmbiosError> {
    const DIMM: u8 = 9;
    const RAM: u8 = 7;
    const SEE_EXTENDED: u16 = 0x7FFF;
    let mib = u32::try_from(ram.bytes().div_ceil(MIB)).unwrap_or(0x7FFF_FFFF);
    let short = u16::try_from(mib).unwrap_or(SEE_EXTENDED).min(SEE_EXTENDED);
    Ok(Structure::new(17, 0x1100)
        .word(MEMORY_ARRAY)
        .word(NONE - 1)
        // Total and data width unknown.
        .word(NONE)
        .word(NONE)
        .word(short)
        .bytes(&[DIMM, 0])
        .string("memory slot", "DIMM 0")?
        .bytes(&[0, RAM])
        .word(1 << 1)
        .word(0)
        .string("memory manufacturer", "kubevmm")?
        .bytes(&[0, 0, 0, 0])
        .dword(mib)
        .word(0)
        .word(0)
        .word(0)
        .word(0))
}

fn mapped_range(number: u16, start: u64, end: u64) -> Structure {
    const SEE_EXTENDED: u32 = u32::MAX;
    let last = end.saturating_sub(1).max(KERNEL_MIN);
    let kib = |addr: u64| u32::try_from(addr / KIB).unwrap_or(SEE_EXTENDED);
    let extended = kib(last) == SEE_EXTENDED || kib(start) == SEE_EXTENDED;
    let short = |addr: u64| if extended { SEE_EXTENDED } else { kib(addr) };
    let long = |addr: u64| if extended { addr } else { 0 };
    Structure::new(19, 0x1300 + number)
        .dword(short(start))
        .dword(short(last))
        .word(MEMORY_ARRAY)
        .bytes(&[1])
        .qword(long(start))
        .qword(long(last))
}
