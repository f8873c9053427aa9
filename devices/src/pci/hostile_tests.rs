//! Accesses that no sane guest makes, by both ways to configuration space.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::bus::BusDevice;

const DISK: PciAddress = PciAddress::new(0, 1, 0);

/// 0xCF9.
struct Reset;
impl BusDevice for Reset {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }
    fn write(&self, _: u64, _: &[u8]) -> Action {
        Action::Reset
    }
}

fn bus() -> Arc<PciBus> {
    let bus = Arc::new(PciBus::new());
    assert!(bus.insert(PciAddress::new(0, 0, 0), Arc::new(host_bridge(0xb000_0000))));
    assert!(bus.insert(PciAddress::new(0, 0x1f, 0), Arc::new(lpc(0x600))));
    let mut disk = ConfigSpace::new(Identity {
        vendor: 0x1af4,
        device: 0x1042,
        revision: 1,
        class: 0x01_80_00,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
    });
    disk.add_bar(Bar { index: 0, kind: BarKind::Mem64, size: 0x8000 }, 0);
    disk.add_bar(Bar { index: 2, kind: BarKind::Io, size: 0x20 }, 0);
    disk.add_bar(Bar { index: 3, kind: BarKind::Mem32, size: 0x1000 }, 0);
    assert!(bus.insert(DISK, Arc::new(FixedFunction::new(disk))));
    assert!(!bus.insert(DISK, Arc::new(lpc(0))), "the slot is taken");
    bus
}

fn config(bus: &PciBus, address: PciAddress, offset: u16) -> u32 {
    let mut data = [0; 4];
    bus.read(address, offset, &mut data);
    u32::from_le_bytes(data)
}

#[test]
fn an_access_over_the_end_of_a_function_does_not_reach_the_next() {
    let ecam = Ecam(bus());
    let mut data = [0; 8];
    ecam.read(0xffc, &mut data);
    assert_eq!(data, [0xff; 8]);
    ecam.read(0xfe, &mut data);
    assert_eq!(data, [0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let _ = ecam.write(0x8ffc, &[0xff; 8]);
    assert_eq!(config(&ecam.0, DISK, 0), 0x1042_1af4);
}

#[test]
fn reserved_bits_of_the_address_port_read_as_zero() {
    let ports = ConfigPorts::new(bus(), Arc::new(Reset));
    let _ = ports.write(0, &u32::MAX.to_le_bytes());
    assert_eq!(ports.save(), 0x80ff_fffc);
    ports.restore(u32::MAX);
    let mut data = [0; 4];
    ports.read(0, &mut data);
    assert_eq!(u32::from_le_bytes(data), 0x80ff_fffc);
    let _ = ports.write(0, &[0, 0]);
    let _ = ports.write(0, &[0; 8]);
    assert_eq!(ports.save(), 0x80ff_fffc, "only a double word is an address");
}

#[test]
fn data_without_enable_goes_nowhere() {
    let ports = ConfigPorts::new(bus(), Arc::new(Reset));
    let _ = ports.write(0, &0x0000_0800u32.to_le_bytes());
    let _ = ports.write(4, &[0xff; 4]);
    let mut data = [0; 4];
    ports.read(4, &mut data);
    assert_eq!(data, [0xff; 4]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_sequence_changes_what_a_function_is(
        accesses in prop::collection::vec(
            (any::<bool>(), prop_oneof![0..0x100u64, 0x8000..0x8100u64, 0xf_8000..0xf_8100u64, any::<u64>()],
             prop::collection::vec(any::<u8>(), 1..=8)),
            1..100,
        )
    ) {
        let bus = bus();
        let (ecam, ports) = (Ecam(bus.clone()), ConfigPorts::new(bus.clone(), Arc::new(Reset)));
        for (by_ports, offset, mut data) in accesses {
            if by_ports {
                let address = 0x8000_0000 | u32::try_from(offset & 0xffff).unwrap();
                let _ = ports.write(0, &address.to_le_bytes());
                let _ = ports.write(4 + offset % 4, &data);
                let _ = ports.write(offset % 8, &data);
                ports.read(offset % 8, &mut data);
            } else {
                let _ = ecam.write(offset, &data);
                ecam.read(offset, &mut data);
            }
        }
        prop_assert_eq!(config(&bus, PciAddress::new(0, 0, 0), 0), 0x29c0_8086);
        prop_assert_eq!(config(&bus, PciAddress::new(0, 0, 0), 0x60), 0xb000_0001);
        prop_assert_eq!(config(&bus, PciAddress::new(0, 0x1f, 0), 0), 0x2918_8086);
        prop_assert_eq!(config(&bus, DISK, 0), 0x1042_1af4);
        prop_assert_eq!(config(&bus, DISK, 0x10) & 0x7fff, 0xc);
        prop_assert_eq!(config(&bus, DISK, 0x18) & 0xffff_001f, 1);
        prop_assert_eq!(config(&bus, DISK, 0x1c) & 0xfff, 0);
    }

    #[test]
    fn decoded_windows_are_whole_and_in_place(
        writes in prop::collection::vec((0..0x30u16, prop::collection::vec(any::<u8>(), 1..=8)), 1..50)
    ) {
        let mut space = ConfigSpace::new(Identity {
            vendor: 1, device: 2, revision: 3, class: 4, subsystem_vendor: 5, subsystem: 6,
        });
        let bars = [(0, BarKind::Mem64, 0x8000), (2, BarKind::Io, 0x20), (3, BarKind::Mem32, 0x1000)];
        for (index, kind, size) in bars {
            space.add_bar(Bar { index, kind, size }, 0);
        }
        let mut places = [None; 6];
        for (offset, data) in writes {
            for change in space.write(offset, &data) {
                let place = &mut places[usize::from(change.bar.index)];
                prop_assert_eq!(*place, change.from);
                prop_assert_ne!(change.from, change.to);
                *place = change.to;
                let Some(base) = change.to else { continue };
                prop_assert_eq!(base % change.bar.size, 0);
                let last = base.checked_add(change.bar.size - 1);
                let limit = match change.bar.kind {
                    BarKind::Mem64 => u64::MAX,
                    BarKind::Mem32 => 0xffff_ffff,
                    BarKind::Io => 0xffff,
                };
                prop_assert!(base != 0 && last.is_some_and(|last| last <= limit));
            }
            for (index, ..) in bars {
                prop_assert_eq!(space.bar_address(index), places[usize::from(index)]);
            }
        }
    }
}
