//! A function's 256 bytes of configuration space with a type 0 header (PCI 3.0 §6.1).

use serde::{Deserialize, Serialize};

use super::bar::{Bar, BarChange, BarKind};

const SIZE: usize = 256;
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BAR0: usize = 0x10;
const BAR_END: usize = 0x28;
const CAPABILITIES: usize = 0x34;
const FIRST_CAPABILITY: usize = 0x40;
/// Command bits that a guest may set: I/O, memory, bus master, parity, SERR, INTx disable.
const COMMAND_WRITABLE: u16 = 0x0547;
const STATUS_CAPABILITIES: u16 = 1 << 4;

/// What a function says it is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Base class, sub-class and programming interface, as in 0x06_00_00 for a host bridge.
    pub class: u32,
    /// Subsystem vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
}

/// A capability for the list at 0x34.
#[derive(Clone, Debug)]
pub struct Capability {
    /// Capability ID (PCI 3.0 appendix H).
    pub id: u8,
    /// Bytes after ID and next pointer.
    pub body: Vec<u8>,
    /// Which bits of `body` the guest may write; missing bytes are read-only.
    pub writable: Vec<u8>,
}

/// Configuration space of one function.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: [u8; SIZE],
    writable: [u8; SIZE],
    bars: Vec<Bar>,
    /// Where each of `bars` is decoded at present.
    decoded: Vec<Option<u64>>,
    last_capability: Option<usize>,
    end: usize,
}

/// What a snapshot keeps of a configuration space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigState {
    /// All 256 bytes.
    pub bytes: Vec<u8>,
}

impl ConfigSpace {
    /// A space without windows or capabilities.
    pub fn new(identity: Identity) -> Self {
        let mut space = Self {
            bytes: [0; SIZE],
            writable: [0; SIZE],
            bars: Vec::new(),
            decoded: Vec::new(),
            last_capability: None,
            end: FIRST_CAPABILITY,
        };
        space.put(0x00, &identity.vendor.to_le_bytes());
        space.put(0x02, &identity.device.to_le_bytes());
        let class = identity.class << 8 | u32::from(identity.revision);
        space.put(0x08, &class.to_le_bytes());
        space.put(0x2c, &identity.subsystem_vendor.to_le_bytes());
        space.put(0x2e, &identity.subsystem.to_le_bytes());
        space.allow(COMMAND, &COMMAND_WRITABLE.to_le_bytes());
        // Interrupt line: a scratch byte for firmware and operating system.
        space.allow(0x3c, &[0xff]);
        space
    }

    /// Sets bytes as the device's maker would: read-only bits included.
    pub fn put(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(target) = self.bytes.get_mut(offset..offset.saturating_add(bytes.len())) {
            target.copy_from_slice(bytes);
        }
    }

    /// Lets the guest write the bits set in `mask`.
    pub fn allow(&mut self, offset: usize, mask: &[u8]) {
        if let Some(target) = self.writable.get_mut(offset..offset.saturating_add(mask.len())) {
            target.copy_from_slice(mask);
        }
    }

    /// Adds a window that power-on leaves at `address` (0: nowhere), not decoded until the guest enables it.
    pub fn add_bar(&mut self, bar: Bar, address: u64) {
        let offset = BAR0 + usize::from(bar.index) * 4;
        let mask = bar.kind.address_bits() & !bar.size.saturating_sub(1);
        let value = address & mask | bar.kind.flags();
        let width = if bar.kind == BarKind::Mem64 { 8 } else { 4 };
        self.put(offset, value.to_le_bytes().get(..width).unwrap_or_default());
        self.allow(offset, mask.to_le_bytes().get(..width).unwrap_or_default());
        self.bars.push(bar);
        self.decoded.push(None);
    }

    /// Adds a capability at the end of the list and gives back its offset; `None` if there is no room.
    pub fn add_capability(&mut self, capability: &Capability) -> Option<u16> {
        let at = self.end;
        let next = at.checked_add(2 + capability.body.len())?.next_multiple_of(4);
        if next > SIZE {
            return None;
        }
        let pointer = u8::try_from(at).ok()?;
        self.put(at, &[capability.id, 0]);
        self.put(at + 2, &capability.body);
        self.allow(at + 2, &capability.writable);
        match self.last_capability {
            Some(last) => self.put(last + 1, &[pointer]),
            None => {
                self.put(CAPABILITIES, &[pointer]);
                let status = self.word(STATUS) | STATUS_CAPABILITIES;
                self.put(STATUS, &status.to_le_bytes());
            }
        }
        self.last_capability = Some(at);
        self.end = next;
        Some(u16::from(pointer))
    }

    /// Reads as the guest does.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = self.bytes.get(usize::from(offset).saturating_add(i)).copied().unwrap_or(0xff);
        }
    }

    /// Writes as the guest does; gives back the windows that moved.
    pub fn write(&mut self, offset: u16, data: &[u8]) -> Vec<BarChange> {
        let start = usize::from(offset);
        for (i, value) in data.iter().enumerate() {
            let at = start.saturating_add(i);
            if let (Some(byte), Some(mask)) = (self.bytes.get_mut(at), self.writable.get(at)) {
                *byte = *byte & !mask | value & mask;
            }
        }
        let end = start.saturating_add(data.len());
        let touches = |from: usize, to: usize| start < to && end > from;
        if touches(COMMAND, COMMAND + 2) || touches(BAR0, BAR_END) { self.decode() } else { Vec::new() }
    }

    /// Where the window with register `index` is decoded at present.
    pub fn bar_address(&self, index: u8) -> Option<u64> {
        let at = self.bars.iter().position(|bar| bar.index == index)?;
        self.decoded.get(at).copied().flatten()
    }

    /// A 16-bit register; 0 past the end.
    pub fn word(&self, offset: usize) -> u16 {
        let bytes = self.bytes.get(offset..offset.saturating_add(2));
        bytes.and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
    }

    /// A 32-bit register; 0 past the end.
    pub fn dword(&self, offset: usize) -> u32 {
        let bytes = self.bytes.get(offset..offset.saturating_add(4));
        bytes.and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
    }

    /// State for a snapshot.
    pub fn save(&self) -> ConfigState {
        ConfigState { bytes: self.bytes.to_vec() }
    }

    /// Takes over the writable bits of a saved state, and gives back the windows that moved.
    pub fn restore(&mut self, state: &ConfigState) -> Vec<BarChange> {
        self.write(0, &state.bytes)
    }

    /// Brings `decoded` in line with the registers.
    fn decode(&mut self) -> Vec<BarChange> {
        let command = self.word(COMMAND);
        let mut changes = Vec::new();
        for (at, bar) in self.bars.iter().copied().enumerate() {
            let to = (command & bar.kind.command_bit() != 0).then(|| self.address(bar)).flatten();
            if let Some(decoded) = self.decoded.get_mut(at)
                && *decoded != to
            {
                changes.push(BarChange { bar, from: *decoded, to });
                *decoded = to;
            }
        }
        changes
    }

    /// The address in a window's register; `None` while it is unset, being sized, or runs past the address space.
    fn address(&self, bar: Bar) -> Option<u64> {
        let offset = BAR0 + usize::from(bar.index) * 4;
        let high = if bar.kind == BarKind::Mem64 { self.dword(offset + 4) } else { 0 };
        let value = (u64::from(self.dword(offset)) | u64::from(high) << 32) & bar.kind.address_bits();
        let last = value.checked_add(bar.size.checked_sub(1)?)?;
        let sizing = bar.kind.address_bits() & !(bar.size - 1);
        let limit = bar.kind.address_bits() | 0xf;
        (value != 0 && value != sizing && last <= limit).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Identity = Identity {
        vendor: 0x1af4,
        device: 0x1042,
        revision: 1,
        class: 0x01_00_00,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
    };
    const BAR: Bar = Bar { index: 0, kind: BarKind::Mem64, size: 0x8000 };

    fn read32(space: &ConfigSpace, offset: u16) -> u32 {
        let mut data = [0; 4];
        space.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn header_reads_back_and_ids_are_read_only() {
        let mut space = ConfigSpace::new(ID);
        assert!(space.write(0, &[0; 4]).is_empty());
        assert_eq!(read32(&space, 0), 0x1042_1af4);
        assert_eq!(read32(&space, 8), 0x0100_0001);
        assert_eq!(read32(&space, 0x2c), 0x1100_1af4);
        assert_eq!(read32(&space, 0xfe), 0xffff_0000, "past the end reads as ones");
    }

    #[test]
    fn a_bar_is_sized_moved_and_switched_off() {
        let mut space = ConfigSpace::new(ID);
        space.add_bar(BAR, 0x8_0000_0000);
        let on = space.write(4, &[2, 0]);
        assert_eq!(on, [BarChange { bar: BAR, from: None, to: Some(0x8_0000_0000) }]);
        assert_eq!(space.bar_address(0), Some(0x8_0000_0000));
        space.write(0x10, &u32::MAX.to_le_bytes());
        space.write(0x14, &u32::MAX.to_le_bytes());
        assert_eq!(read32(&space, 0x10), 0xffff_800c);
        assert_eq!(read32(&space, 0x14), 0xffff_ffff);
        assert_eq!(space.bar_address(0), None, "a register that is being sized decodes nothing");
        space.write(0x10, &0xc000_0000u32.to_le_bytes());
        let moved = space.write(0x14, &[0; 4]);
        assert_eq!(moved.last().map(|c| c.to), Some(Some(0xc000_0000)));
        assert_eq!(space.write(4, &[0, 0]), [BarChange { bar: BAR, from: Some(0xc000_0000), to: None }]);
    }

    #[test]
    fn capabilities_are_chained() {
        let mut space = ConfigSpace::new(ID);
        let cap = |id| Capability { id, body: vec![1, 2, 3], writable: vec![0, 0xf0] };
        let first = space.add_capability(&cap(9)).unwrap();
        let second = space.add_capability(&cap(0x11)).unwrap();
        assert_eq!(read32(&space, 0x34) & 0xff, u32::from(first));
        assert_eq!(read32(&space, first) & 0xffff, u32::from(second) << 8 | 9);
        assert_eq!(read32(&space, second) & 0xffff, 0x11);
        assert_eq!(space.word(STATUS) & 0x10, 0x10);
        space.write(second + 2, &[0xff, 0xff, 0xff]);
        assert_eq!(read32(&space, second), 0xf201_0011);
        let full = std::iter::from_fn(|| space.add_capability(&cap(9))).count();
        assert!(full < 64, "a full list refuses");
    }

    #[test]
    fn state_round_trips() {
        let mut space = ConfigSpace::new(ID);
        space.add_bar(BAR, 0x8_0000_0000);
        space.write(4, &[6, 0]);
        space.write(0x3c, &[11]);
        let mut other = ConfigSpace::new(ID);
        other.add_bar(BAR, 0);
        let changes = other.restore(&space.save());
        assert_eq!(changes.len(), 1);
        assert_eq!(other.save(), space.save());
        assert!(other.restore(&ConfigState { bytes: vec![0xff; 5000] }).len() <= 1);
    }
}
