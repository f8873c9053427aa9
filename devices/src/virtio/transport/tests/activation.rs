//! From power-on to a live queue, and what is refused on the way.

use super::devices::Kind;
use super::driver::*;
use super::machine::{Rig, WINDOW};
use crate::virtio::testing::RAM;

#[test]
fn every_kind_of_device_serves_a_driver_again_and_again() {
    for kind in Kind::all() {
        let rig = Rig::new(kind);
        for _ in 0..3 {
            let mut driver = rig.start();
            rig.request(&mut driver);
            rig.request(&mut driver);
        }
        rig.reset();
        assert!(rig.board.doorbells().is_empty());
    }
}

#[test]
fn identity_and_layout_are_those_of_a_modern_function() {
    for (kind, device) in Kind::all().into_iter().zip([0x1044, 0x1042, 0x1043, 0x1041]) {
        let rig = Rig::new(kind);
        assert_eq!(rig.config(0, 4), device << 16 | 0x1af4);
        assert_eq!(rig.config(8, 1), 1);
        assert_eq!(rig.config(rig.capability(9, Some(1)) + 8, 4), COMMON);
        assert_eq!(rig.config(rig.capability(9, Some(2)) + 8, 4), NOTIFY);
        assert_eq!(rig.config(rig.capability(9, Some(2)) + 16, 4), 4);
        assert_eq!(rig.config(rig.capability(9, Some(3)) + 8, 4), ISR);
        assert_eq!(rig.config(rig.capability(0x11, None) + 4, 4), MSIX);
        let vectors = rig.vectors() as u64;
        assert_eq!(rig.config(rig.capability(0x11, None) + 2, 2), vectors - 1);
        rig.place(WINDOW);
        assert_eq!(rig.read(COMMON + 0x12, 2), vectors - 1);
        rig.select(u16::MAX);
        assert_eq!((rig.read(QUEUE_SIZE, 2), rig.read(QUEUE_VECTOR, 2)), (0, 0xffff));
    }
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let rig = Rig::new(Kind::Rng);
    rig.place(WINDOW);
    for features in [0, 1 << 32 | 1 << 20, 1 << 40, u64::MAX] {
        rig.reset();
        rig.add_status(ACKNOWLEDGE | DRIVER);
        rig.accept(features);
        rig.add_status(FEATURES_OK);
        assert_eq!(rig.status(), ACKNOWLEDGE | DRIVER, "{features:#x}");
    }
    rig.accept(1 << 32);
    rig.add_status(FEATURES_OK);
    assert_eq!(rig.status(), ACKNOWLEDGE | DRIVER | FEATURES_OK);
    rig.accept(0);
    assert_eq!(rig.read(COMMON + 12, 4), 1, "what was agreed on stays");
    rig.write(STATUS, 1, ACKNOWLEDGE);
    assert_eq!(rig.status(), ACKNOWLEDGE | DRIVER | FEATURES_OK, "bits go by a reset only");
    rig.write(STATUS, 1, 0xff);
    assert_eq!(rig.status(), 0x8f, "the device's bit and unknown ones are not the driver's to set");
}

#[test]
fn nothing_runs_before_both_sides_agreed() {
    let rig = Rig::new(Kind::Rng);
    rig.place(WINDOW);
    rig.select(0);
    rig.describe(&rig.fresh_ring(0));
    rig.add_status(DRIVER_OK);
    assert!(rig.board.doorbells().is_empty());
    rig.accept(FEATURES);
    rig.add_status(FEATURES_OK);
    assert_eq!(rig.board.doorbells(), [WINDOW + NOTIFY]);
}

#[test]
fn doorbells_follow_the_window() {
    let rig = Rig::new(Kind::Net);
    let mut driver = rig.start();
    let bell = rig.doorbell();
    assert_eq!(rig.board.doorbells(), [WINDOW + bell]);
    rig.set_config(4, 2, 0);
    assert!(rig.board.doorbells().is_empty());
    assert_eq!(rig.read(STATUS, 1), 0xff, "nobody answers");
    rig.place(0xc000_0000);
    assert_eq!(rig.board.doorbells(), [0xc000_0000 + bell]);
    rig.set_config(0x10, 4, 0xffff_ffff);
    rig.set_config(0x14, 4, 0xffff_ffff);
    assert!(rig.board.doorbells().is_empty(), "sizing");
    rig.place(WINDOW);
    assert_eq!(rig.board.doorbells(), [WINDOW + bell]);
    rig.request(&mut driver);
}

#[test]
fn a_live_queue_cannot_be_changed() {
    let rig = Rig::new(Kind::Rng);
    let mut driver = rig.start();
    rig.write(QUEUE_SIZE, 2, 4);
    rig.write(QUEUE_DESC, 4, 0x7_0000);
    rig.write(QUEUE_ENABLE, 2, 0);
    assert_eq!(rig.read(QUEUE_SIZE, 2), 16);
    assert_eq!(rig.read(QUEUE_DESC, 4), driver.state.desc_table);
    assert_eq!(rig.read(QUEUE_ENABLE, 2), 1);
    rig.request(&mut driver);
}

#[test]
fn sizes_that_are_no_sizes_are_ignored() {
    let rig = Rig::new(Kind::Rng);
    rig.place(WINDOW);
    for size in [0, 3, 128, 0x8000, 0xffff] {
        rig.write(QUEUE_SIZE, 2, size);
        assert_eq!(rig.read(QUEUE_SIZE, 2), 64);
    }
    rig.write(QUEUE_SIZE, 2, 1);
    assert_eq!(rig.read(QUEUE_SIZE, 2), 1);
}

#[test]
fn fields_are_accessed_whole() {
    let rig = Rig::new(Kind::Rng);
    rig.place(WINDOW);
    rig.write(QUEUE_DESC, 8, 0x1234_5678_9abc_def0);
    assert_eq!(rig.read(QUEUE_DESC, 8), 0x1234_5678_9abc_def0);
    assert_eq!(rig.read(QUEUE_DESC, 4), 0x9abc_def0);
    assert_eq!(rig.read(QUEUE_DESC + 4, 4), 0x1234_5678);
    rig.write(QUEUE_DESC + 4, 4, 7);
    assert_eq!(rig.read(QUEUE_DESC, 8), 0x7_9abc_def0);
    for (offset, len) in [(QUEUE_DESC, 2), (QUEUE_DESC + 2, 4), (QUEUE_DESC + 4, 8), (STATUS, 4), (COMMON, 8)]
    {
        let before = (rig.read(QUEUE_DESC, 8), rig.status());
        rig.write(offset, len, 0x0101_0101_0101_0101);
        assert_eq!((rig.read(QUEUE_DESC, 8), rig.status()), before, "{offset:#x} {len}");
    }
    assert_eq!(rig.read(COMMON, 8), 0);
}

#[test]
fn impossible_places_need_a_reset() {
    for (field, address) in [(0, RAM), (1, RAM - 8), (2, u64::MAX - 3), (0, 0x1008), (1, 0x9001), (2, 0xc002)]
    {
        let rig = Rig::new(Kind::Rng);
        let driver = rig.start();
        rig.write(QUEUE_RESET, 2, 1);
        rig.write(QUEUE_DESC + field * 8, 4, address & 0xffff_ffff);
        rig.write(QUEUE_DESC + field * 8 + 4, 4, address >> 32);
        assert_eq!(rig.fired(0), 0);
        // However often the driver tries.
        for _ in 0..100 {
            rig.write(QUEUE_ENABLE, 2, 1);
        }
        assert_eq!(rig.status() & NEEDS_RESET, NEEDS_RESET);
        assert_eq!(rig.fired(0), 1, "the driver is told once");
        assert!(rig.board.doorbells().is_empty());
        drop(driver);
        let mut driver = rig.start();
        rig.request(&mut driver);
    }
}
