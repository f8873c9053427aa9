//! The configuration space of a port: a type 1 header (PCI-to-PCI bridge architecture 1.2 §3.2) and its capabilities.

use std::ops::Range;

use super::msi;
use crate::pci::{Capability, ConfigSpace, Identity};

const CACHE_LINE_AND_TYPE: usize = 0x0c;
const BAR0: usize = 0x10;
const PRIMARY: usize = 0x18;
pub(super) const SECONDARY: usize = 0x19;
const MEMORY: usize = 0x20;
const PREFETCHABLE: usize = 0x24;
const PREFETCHABLE_UPPER: usize = 0x28;
const SUBSYSTEM_OF_DEVICES: usize = 0x2c;
const BRIDGE_CONTROL: usize = 0x3e;
/// PCI Express capability.
const PCI_EXPRESS: u8 = 0x10;

/// Where capabilities lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets {
    pub(super) msi: usize,
    pub(super) express: usize,
}

/// Registers of the PCI Express capability (PCIe 5.0 §7.5.3), from its start.
pub(super) mod express {
    /// Link status.
    pub(in super::super) const LINK_STATUS: usize = 0x12;
    /// Slot control.
    pub(in super::super) const SLOT_CONTROL: usize = 0x18;
    /// Slot status.
    pub(in super::super) const SLOT_STATUS: usize = 0x1a;
}

/// What a port forwards, as firmware would have set it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The bus behind the port.
    pub bus: u8,
    /// Memory below 4 GiB, in whole MiB.
    pub memory: Range<u64>,
    /// Prefetchable memory, anywhere, in whole MiB.
    pub prefetchable: Range<u64>,
}

/// The space of port number `number` (1 and up, which the guest shows as its slot's number).
pub(super) fn space(number: u16, forwarded: &Forwarded) -> (ConfigSpace, Offsets) {
    let mut config = ConfigSpace::new(Identity {
        vendor: 0x1b36,
        device: 0x000c,
        revision: 0,
        class: 0x06_04_00,
        subsystem_vendor: 0,
        subsystem: 0,
    });
    config.put(CACHE_LINE_AND_TYPE, &[0, 0, 1, 0]);
    // A bridge has two address registers, of which this one uses none, and no subsystem registers in the header.
    config.put(BAR0, &[0; 8]);
    config.put(SUBSYSTEM_OF_DEVICES, &[0; 4]);
    config.put(PRIMARY, &[0, forwarded.bus, forwarded.bus]);
    config.allow(PRIMARY, &[0xff, 0xff, 0xff, 0]);
    let [low, high] = window32(&forwarded.memory);
    config.put(MEMORY, &[low, high].concat());
    config.allow(MEMORY, &[0xf0, 0xff, 0xf0, 0xff]);
    let last = forwarded.prefetchable.end.saturating_sub(1);
    let [low, high] = window32(&forwarded.prefetchable);
    config.put(PREFETCHABLE, &[low, high].concat());
    // 64-bit addresses.
    for at in [PREFETCHABLE, PREFETCHABLE + 2] {
        let register = config.word(at) | 1;
        config.put(at, &register.to_le_bytes());
    }
    config.allow(PREFETCHABLE, &[0xf0, 0xff, 0xf0, 0xff]);
    let upper = |address: u64| u32::try_from(address >> 32).unwrap_or(0).to_le_bytes();
    config.put(PREFETCHABLE_UPPER, &[upper(forwarded.prefetchable.start), upper(last)].concat());
    config.allow(PREFETCHABLE_UPPER, &[0xff; 8]);
    // Parity, SERR, bus reset, and others that have no effect here.
    config.allow(BRIDGE_CONTROL, &[0x7f, 0]);
    let express = config.add_capability(&express(number)).unwrap_or(0);
    let msi = Capability { id: msi::ID, body: msi::BODY.to_vec(), writable: msi::WRITABLE.to_vec() };
    let msi = config.add_capability(&msi).unwrap_or(0);
    (config, Offsets { msi: msi.into(), express: express.into() })
}

/// Base and limit registers of a window: address bits 31 to 20 of its first and last MiB.
fn window32(window: &Range<u64>) -> [[u8; 2]; 2] {
    let register = |address: u64| u16::try_from(address >> 16 & 0xfff0).unwrap_or(0).to_le_bytes();
    [register(window.start), register(window.end.saturating_sub(1))]
}

/// The capability without ID and next pointer: version 2, a root port with a slot.
fn express(number: u16) -> Capability {
    const ROOT_PORT_WITH_SLOT: u16 = 2 | 4 << 4 | 1 << 8;
    /// 128 bytes of payload; role-based error reporting.
    const DEVICE: u32 = 1 << 15;
    /// 2.5 GT/s, one lane, L0s latencies do not matter; the link's state can be read (bit 20).
    const LINK: u32 = 1 | 1 << 4 | 1 << 20;
    /// 2.5 GT/s, one lane.
    const LINK_STATE: u16 = 1 | 1 << 4;
    /// Button, power controller, both indicators, hot-plug; no command takes time (bit 18).
    const SLOT: u32 = 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 18;
    let mut body = Vec::with_capacity(58);
    body.extend(ROOT_PORT_WITH_SLOT.to_le_bytes());
    body.extend(DEVICE.to_le_bytes());
    body.extend([0; 4]);
    body.extend((LINK | u32::from(number & 0xff) << 24).to_le_bytes());
    body.extend([0; 2]);
    body.extend(LINK_STATE.to_le_bytes());
    body.extend((SLOT | u32::from(number & 0x1fff) << 19).to_le_bytes());
    // Slot and root registers, the second device's, link's and slot's: all zero.
    body.resize(58, 0);
    let mut writable = vec![0; 58];
    // Device control, link control, root control. Slot registers are the slot's own.
    let masks = [(0x08, 0x7fff_u16), (0x10, 0x0fcb), (0x1c, 0x001f), (0x28, 0x041f), (0x30, 0x002f)];
    for (at, mask) in masks {
        if let Some(place) = writable.get_mut(at - 2..at) {
            place.copy_from_slice(&mask.to_le_bytes());
        }
    }
    Capability { id: PCI_EXPRESS, body, writable }
}
