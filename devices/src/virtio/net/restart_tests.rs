//! Queues that stop and start while frames flow.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;

use super::features::MRG_RXBUF;
use super::test_link::TestLink;
use super::*;
use crate::virtio::feature;
use crate::virtio::testing::*;

const FRAMES: u32 = 2000;
const BUFFERS: u64 = 16;

fn device(machine: &Machine) -> (NetDevice, UnixDatagram) {
    let (link, mut hosts) = TestLink::new(1);
    let device = NetDevice::new(Arc::new(link), NetConfig::new([2; 6]), machine.thread.handle());
    (device, hosts.remove(0))
}

fn numbered(number: u32) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend_from_slice(&number.to_le_bytes());
    frame.resize(12 + 60 + usize::try_from(number % 1400).unwrap(), 7);
    frame
}

fn send(host: &UnixDatagram, frame: &[u8]) {
    while let Err(error) = host.send(frame) {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        std::thread::yield_now();
    }
}

fn buffer(number: u32) -> u64 {
    DATA + u64::from(number) % BUFFERS * 0x1000
}

#[test]
fn received_frames_keep_their_order_and_none_is_lost() {
    for features in [0, feature::RING_EVENT_IDX] {
        let machine = Machine::new();
        let (mut device, host) = device(&machine);
        let sender =
            std::thread::spawn(move || (0..FRAMES).for_each(|number| send(&host, &numbered(number))));
        let mut rx = machine.driver(0, 64);
        rx.features |= features | MRG_RXBUF;
        rx.start(&mut device);
        for i in 0..BUFFERS {
            rx.add(&[inp(DATA + i * 0x1000, 2000)]);
            rx.kick_if_wanted();
        }
        for number in 0..FRAMES {
            let (_, written) = rx.wait_used();
            let mut expected = numbered(number);
            expected[10] = 1;
            assert_eq!(machine.bytes(buffer(number), usize::try_from(written).unwrap()), expected);
            if number % 10 == 5 {
                rx.stop(&mut device);
                rx.start(&mut device);
            }
            rx.add(&[inp(buffer(number), 2000)]);
            rx.kick_if_wanted();
        }
        sender.join().unwrap();
        assert_eq!(device.handle().counters().rx[0].dropped.get(), 0);
    }
}

#[test]
fn sent_frames_keep_their_order_and_none_is_lost() {
    for features in [0, feature::RING_EVENT_IDX] {
        let machine = Machine::new();
        let (mut device, host) = device(&machine);
        let receiver = std::thread::spawn(move || {
            let mut bytes = [0; 4000];
            for number in 0..FRAMES {
                let len = loop {
                    match host.recv(&mut bytes) {
                        Ok(len) => break len,
                        Err(_) => std::thread::yield_now(),
                    }
                };
                assert_eq!(bytes[..len], numbered(number));
            }
        });
        let mut tx = machine.driver(1, 64);
        tx.features |= features;
        tx.start(&mut device);
        for number in 0..FRAMES {
            if u64::from(number) >= BUFFERS {
                tx.wait_used();
            }
            let frame = numbered(number);
            machine.fill(buffer(number), &frame);
            tx.add(&[out(buffer(number), u32::try_from(frame.len()).unwrap())]);
            tx.kick_if_wanted();
            if number % 10 == 5 {
                tx.stop(&mut device);
                tx.start(&mut device);
            }
        }
        receiver.join().unwrap();
    }
}

#[test]
fn a_cable_pulled_a_thousand_times_loses_only_what_is_counted() {
    const TURNS: u32 = 1000;
    let machine = Machine::new();
    let (mut device, host) = device(&machine);
    let handle = device.handle();
    let (mut rx, mut tx) = (machine.driver(0, 64), machine.driver(1, 64));
    rx.features |= MRG_RXBUF | feature::RING_EVENT_IDX;
    tx.features |= feature::RING_EVENT_IDX;
    rx.start(&mut device);
    tx.start(&mut device);
    for i in 0..BUFFERS {
        rx.add(&[inp(DATA + i * 0x1000, 2000)]);
        rx.kick_if_wanted();
    }
    let mut left = String::new();
    let mut bytes = [0; 4000];
    let mut last = None;
    for turn in 0..TURNS {
        handle.set_link(turn % 2 == 1);
        let frame = numbered(turn);
        send(&host, &frame);
        machine.fill(DATA + 0x20000, &frame);
        tx.run(&[out(DATA + 0x20000, u32::try_from(frame.len()).unwrap())]);
        while let Ok(len) = host.recv(&mut bytes) {
            left.push(if bytes[..len] == frame { '.' } else { '?' });
        }
        if turn % 5 == 4 {
            rx.stop(&mut device);
            tx.stop(&mut device);
            rx.start(&mut device);
            tx.start(&mut device);
        }
        while let Some((head, written)) = rx.used() {
            let at = DATA + u64::from(head) % BUFFERS * 0x1000;
            let number = u32::from_le_bytes(machine.bytes(at + 12, 4).try_into().unwrap());
            assert!(last.is_none_or(|last| number > last), "{number} after {last:?}");
            assert_eq!(usize::try_from(written).unwrap(), numbered(number).len());
            last = Some(number);
            rx.add(&[inp(at, 2000)]);
            rx.kick_if_wanted();
        }
    }
    let of = |queue: &QueueCounters| (queue.frames.get(), queue.dropped.get());
    let all = u64::from(TURNS);
    machine.wait("all frames", || {
        let (frames, dropped) = of(&handle.counters().rx[0]);
        frames + dropped == all
    });
    assert_eq!(of(&handle.counters().tx[0]), (all / 2, all / 2), "which way they went was known");
    assert_eq!(left, ".".repeat(500));
}
