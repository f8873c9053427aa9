//! Resets and pauses while there is work to do.

use super::devices::Kind;
use super::driver::*;
use super::machine::Rig;
use crate::virtio::testing::{DATA, inp, out};

#[test]
fn a_queue_is_reset_alone() {
    let rig = Rig::new(Kind::Net);
    let mut driver = rig.start();
    rig.request(&mut driver);
    rig.write(QUEUE_RESET, 2, 1);
    assert_eq!((rig.read(QUEUE_RESET, 2), rig.read(QUEUE_ENABLE, 2)), (0, 0));
    assert_eq!(rig.read(QUEUE_VECTOR, 2), 0xffff);
    assert!(rig.board.doorbells().is_empty());
    let mut driver = rig.fresh_ring(1);
    rig.describe(&driver);
    rig.request(&mut driver);
}

#[test]
fn a_queue_is_not_reset_by_a_driver_that_did_not_ask_for_it() {
    let rig = Rig::new(Kind::Rng);
    rig.start();
    rig.reset();
    rig.add_status(ACKNOWLEDGE | DRIVER);
    rig.accept(1 << 32);
    rig.add_status(FEATURES_OK);
    rig.select(0);
    rig.describe(&rig.fresh_ring(0));
    rig.write(QUEUE_RESET, 2, 1);
    assert_eq!(rig.read(QUEUE_ENABLE, 2), 1);
}

#[test]
fn a_reset_waits_for_requests_in_flight() {
    let rig = Rig::new(Kind::blk());
    for round in 0..20 {
        let mut driver = rig.start();
        rig.machine.fill(DATA, &[0; 16]);
        let mut heads: Vec<_> = (0..5u16)
            .map(|i| {
                let body = DATA + 0x1_0000 * (u64::from(i) + 1);
                driver.add(&[out(DATA, 16), inp(body, 0x8000), inp(body + 0x8000, 1)])
            })
            .collect();
        rig.write(rig.doorbell(), 2, 0);
        if round % 2 == 0 {
            rig.write(QUEUE_RESET, 2, 1);
        } else {
            rig.reset();
        }
        // What was taken was returned, and nothing moves any more.
        while let Some((head, written)) = driver.used() {
            assert_eq!(written, 0x8001);
            heads.retain(|other| *other != head);
        }
        let left = heads.len();
        rig.machine.fill(DATA + 0x1_0000, &[0xee; 16]);
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(driver.used().is_none(), "{left} were not begun");
        assert_eq!(rig.machine.bytes(DATA + 0x1_0000, 16), [0xee; 16]);
    }
    let mut driver = rig.start();
    rig.request(&mut driver);
}

#[test]
fn a_pause_changes_nothing_that_the_driver_sees() {
    for kind in Kind::all() {
        let rig = Rig::new(kind);
        let mut driver = rig.start();
        rig.request(&mut driver);
        rig.function.pause();
        assert!(rig.board.doorbells().is_empty());
        // Not everything stands still: another vCPU may be on its way.
        let head = driver.add(&rig.kind.request());
        rig.write(rig.doorbell(), 2, 0);
        assert_eq!(driver.used(), None);
        rig.function.resume();
        assert_eq!(driver.wait_used(), (head, rig.kind.answer()));
        assert_eq!(rig.board.doorbells().len(), 1);
        rig.request(&mut driver);
    }
}

#[test]
fn a_driver_that_starts_during_a_pause_is_served_after_it() {
    let rig = Rig::new(Kind::Rng);
    rig.start();
    rig.function.pause();
    let mut driver = rig.start();
    assert!(rig.board.doorbells().is_empty());
    rig.function.resume();
    rig.request(&mut driver);
}
