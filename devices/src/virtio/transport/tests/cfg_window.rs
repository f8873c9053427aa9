//! The window into the BAR through configuration space (virtio 1.3 §4.1.4.9).

use super::devices::Kind;
use super::driver::*;
use super::machine::{Rig, WINDOW};
use crate::pci::PciFunction;

struct Access<'a>(&'a Rig, u16);

impl<'a> Access<'a> {
    fn new(rig: &'a Rig) -> Self {
        Self(rig, rig.capability(9, Some(5)))
    }

    fn set(&self, bar: u64, offset: u64, length: u64) {
        self.0.set_config(self.1 + 4, 1, bar);
        self.0.set_config(self.1 + 8, 4, offset);
        self.0.set_config(self.1 + 12, 4, length);
    }

    fn read(&self, offset: u64, length: u64) -> u64 {
        self.set(0, offset, length);
        self.0.config(self.1 + 16, 4) & ((1 << (length * 8)) - 1)
    }

    fn write(&self, offset: u64, length: u64, value: u64) {
        self.set(0, offset, length);
        self.0.set_config(self.1 + 16, 4, value);
    }
}

#[test]
fn a_device_is_driven_without_memory_being_decoded() {
    let rig = Rig::new(Kind::Rng);
    let access = Access::new(&rig);
    access.write(STATUS, 1, ACKNOWLEDGE | DRIVER);
    assert_eq!(access.read(STATUS, 1), ACKNOWLEDGE | DRIVER);
    assert_eq!(access.read(QUEUE_SIZE, 2), 64);
    access.write(COMMON + 8, 4, 1);
    access.write(COMMON + 12, 4, 1);
    access.write(STATUS, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    let mut driver = rig.fresh_ring(0);
    access.write(QUEUE_SIZE, 2, 16);
    let state = driver.state;
    for (at, address) in (0..).zip([state.desc_table, state.avail_ring, state.used_ring]) {
        access.write(QUEUE_DESC + at * 8, 4, address);
    }
    access.write(QUEUE_ENABLE, 2, 1);
    access.write(STATUS, 1, 0xf);
    let head = driver.add(&rig.kind.request());
    access.write(NOTIFY, 2, 0);
    assert_eq!(driver.wait_used(), (head, 64));
}

#[test]
fn every_access_to_the_data_register_counts_whatever_its_width() {
    let rig = Rig::new(Kind::Rng);
    let access = Access::new(&rig);
    access.write(STATUS, 1, 3);
    access.set(0, STATUS, 1);
    assert_eq!(rig.config(access.1 + 16, 1), 3);
    // It stays in the register, as the low byte of any later access.
    rig.set_config(access.1 + 12, 4, 0);
    assert_eq!(rig.config(access.1 + 16, 1), 3);
    access.set(0, STATUS, 1);
    assert_eq!(rig.config(access.1 + 12, 8) >> 32 & 0xff, 3, "together with the length");
    rig.set_config(access.1 + 12, 8, 0x0000_0007_0000_0001);
    assert_eq!(access.read(STATUS, 1), 7);
}

#[test]
fn odd_windows_do_nothing() {
    let rig = Rig::new(Kind::Rng);
    let access = Access::new(&rig);
    access.write(STATUS, 1, 3);
    let cases =
        [(0, STATUS, 0), (0, STATUS, 3), (0, STATUS, 8), (0, STATUS, u64::from(u32::MAX)), (1, STATUS, 1)];
    for (bar, offset, length) in cases {
        access.set(bar, offset, length);
        rig.set_config(access.1 + 16, 4, 0x0f);
        let _ = rig.config(access.1 + 16, 4);
        assert_eq!(access.read(STATUS, 1), 3, "{bar} {offset:#x} {length}");
    }
    for offset in [0x8000, 0x7fff, 0xffff_ffff, 0x0fff] {
        access.write(offset, 4, 0xffff_ffff);
        assert_eq!(access.read(offset, 4), 0);
    }
    assert_eq!(access.read(STATUS, 1), 3);
}

#[test]
fn one_write_may_reach_several_registers() {
    let rig = Rig::new(Kind::Rng);
    // Command and status, revision and class, all of the BAR.
    let action = rig.function.write_config(4, &[2, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    rig.carry_out(action);
    rig.set_config(0x10, 8, WINDOW);
    assert_eq!(rig.status(), 0);
    assert_eq!(rig.config(8, 1), 1);
    // Bytes 0x00 to 0xff at once: identity stays, everything else takes what it can.
    let action = rig.function.write_config(0, &[0; 256]);
    rig.carry_out(action);
    assert_eq!(rig.config(0, 4), 0x1044_1af4);
    assert_eq!(rig.read(STATUS, 1), 0xff);
    let mut all = [0; 300];
    rig.function.read_config(0, &mut all);
    assert_eq!(all[256..], [0xff; 44]);
    rig.function.read_config(u16::MAX, &mut all);
    assert_eq!(all, [0xff; 300]);
    rig.carry_out(rig.function.write_config(u16::MAX, &[0; 300]));
}
