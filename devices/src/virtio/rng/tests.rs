use proptest::prelude::*;

use super::*;
use crate::virtio::testing::*;

#[test]
fn requests_are_filled_with_different_bytes_and_an_interrupt_follows() {
    let machine = Machine::new();
    let mut device = RngDevice::new(machine.thread.handle());
    let mut driver = machine.driver(0, 16);
    driver.start(&mut device);
    assert_eq!(driver.run(&[inp(DATA, 300), inp(DATA + 0x1000, 41)]), 341);
    let (first, second) = (machine.bytes(DATA, 300), machine.bytes(DATA + 0x1000, 41));
    assert_ne!(first, vec![0; 300]);
    assert_ne!(first[..41], second[..]);
    machine.wait("the interrupt", || machine.interrupted());
    assert_eq!(device.counters().bytes.get(), 341);
    driver.stop(&mut device);
    assert_eq!((driver.state.next_avail, driver.state.next_used), (1, 1));
}

#[test]
fn a_request_without_room_is_returned_empty_and_a_huge_one_is_cut() {
    let machine = Machine::new();
    let mut device = RngDevice::new(machine.thread.handle());
    let mut driver = machine.driver(0, 16);
    driver.start(&mut device);
    assert_eq!(driver.run(&[out(DATA, 16)]), 0);
    assert_eq!(driver.run(&[inp(DATA, 0)]), 0);
    assert_eq!(driver.run(&[inp(RAM, 16)]), 0);
    assert_eq!(driver.run(&[inp(DATA, 16), out(DATA, 16)]), 0);
    assert_eq!(driver.run(&[inp(DATA, 1 << 20)]), 64 << 10);
    assert_eq!(device.counters().rejected.get(), 4);
    assert!(!machine.needs_reset());
}

#[test]
fn a_stopped_queue_goes_on_where_it_was() {
    let machine = Machine::new();
    let mut device = RngDevice::new(machine.thread.handle());
    let mut driver = machine.driver(0, 16);
    driver.features |= feature::RING_EVENT_IDX;
    for _ in 0..20 {
        driver.start(&mut device);
        assert_eq!(driver.run(&[inp(DATA, 8)]), 8);
        driver.stop(&mut device);
        // Offered while stopped: served without a notification.
        driver.add(&[inp(DATA, 9)]);
        driver.start(&mut device);
        assert_eq!(driver.wait_used().1, 9);
        driver.stop(&mut device);
    }
    assert!(device.stop_queue(0).is_none());
    assert!(matches!(device.start_queue(1, driver.ring()), Err(StartError::NoSuchQueue(1))));
}

#[test]
fn no_notification_is_lost_when_the_driver_gives_only_those_asked_for() {
    for event_idx in [0, feature::RING_EVENT_IDX] {
        let machine = Machine::new();
        let mut device = RngDevice::new(machine.thread.handle());
        let mut driver = machine.driver(0, 16);
        driver.features |= event_idx;
        driver.start(&mut device);
        for round in 0..5000u32 {
            let count = 1 + round % 7;
            for _ in 0..count {
                driver.add(&[inp(DATA, 4)]);
                driver.kick_if_wanted();
            }
            for _ in 0..count {
                assert_eq!(driver.wait_used().1, 4);
            }
        }
    }
}

#[test]
fn a_chain_has_an_end_even_if_its_descriptors_are_empty() {
    let machine = Machine::new();
    let mut device = RngDevice::new(machine.thread.handle());
    let mut driver = machine.driver(0, 16);
    driver.start(&mut device);
    let empty = vec![inp(DATA, 0); 1030];
    driver.add_indirect(DATA + 0x10000, &empty);
    driver.kick();
    assert_eq!(driver.wait_used().1, 0);
    driver.add_indirect(DATA + 0x10000, &[&empty[..1000], &[inp(DATA, 7)]].concat());
    driver.kick();
    assert_eq!(driver.wait_used().1, 7);
}

#[test]
fn state_makes_the_round_trip() {
    let machine = Machine::new();
    let mut device = RngDevice::new(machine.thread.handle());
    let saved = device.save();
    assert!(device.restore(&saved));
    assert!(!device.restore(&DeviceState::Rng(RngState { version: 9 })));
}

#[test]
fn impossible_rings_stop_the_queue() {
    let machine = Machine::new();
    rings_outside_ram_are_refused(&mut RngDevice::new(machine.thread.handle()), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn garbage_does_no_harm(garbage in any_garbage()) {
        let machine = Machine::new();
        feed_garbage(&mut RngDevice::new(machine.thread.handle()), &machine, 0, &garbage);
    }
}
