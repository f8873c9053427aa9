//! Bursts of frames from a driver that notifies only when it is asked to.

use super::tests::{Setup, frame};
use crate::virtio::feature::RING_EVENT_IDX;
use crate::virtio::testing::*;

/// The transmit queue.
const TX: u16 = 1;

#[test]
fn all_frames_of_a_burst_leave_however_many_there_are() {
    for size in [1, 2, 4, 64] {
        let mut setup = Setup::new();
        let mut tx = setup.start(TX, size, RING_EVENT_IDX);
        let mut bytes = [0; 2000];
        let mut number = 0;
        for round in 0..200u16 {
            // Long bursts first, so that waiting is worth it, then short ones, whose end nobody notifies of.
            let burst = if round < 20 { size.min(32) } else { 1 + round % size.min(8) };
            let first = number;
            for _ in 0..burst {
                let sent = frame(20 + number % 400);
                let at = DATA + u64::try_from(number % 64).unwrap() * 0x400;
                setup.machine.fill(at, &sent);
                tx.add(&[out(at, u32::try_from(sent.len()).unwrap())]);
                tx.kick_if_wanted();
                number += 1;
            }
            for number in first..number {
                tx.wait_used();
                let count = setup.hosts[0].recv(&mut bytes).unwrap();
                assert_eq!(bytes[..count], frame(20 + number % 400), "frame {number} of a ring of {size}");
            }
        }
    }
}

#[test]
fn a_ring_can_ask_for_a_notification_after_several_chains() {
    for features in [0, RING_EVENT_IDX] {
        let machine = Machine::new();
        let mut driver = machine.driver(0, 16);
        driver.features |= features;
        let mut ring = driver.ring();
        for round in 0..40 {
            assert!(!ring.enable_notification_after(4).unwrap());
            for chain in 0..4 {
                driver.add(&[out(DATA, 100)]);
                driver.kick_if_wanted();
                let notified = ring.kick().read().is_ok();
                assert_eq!(notified, features == 0 || chain == 3, "chain {chain} of round {round}");
            }
            assert!(ring.enable_notification_after(4).unwrap(), "they are there");
            let mut buffers = crate::virtio::buffers::Buffers::default();
            while let Some(taken) = ring.take(&mut buffers).unwrap() {
                ring.push_used(taken.head, 0).unwrap();
            }
        }
    }
}
