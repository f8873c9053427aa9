use std::os::unix::net::UnixDatagram;

use proptest::prelude::*;

use super::ctrl_tests::command;
use super::features::*;
use super::test_link::TestLink;
use super::*;
use crate::virtio::feature;
use crate::virtio::testing::*;

pub(super) const RX: u16 = 0;
pub(super) const TX: u16 = 1;
pub(super) const MAC_ADDRESS: [u8; 6] = [2, 0, 0, 1, 2, 3];

pub(super) struct Setup {
    pub(super) machine: Machine,
    pub(super) link: Arc<TestLink>,
    pub(super) hosts: Vec<UnixDatagram>,
    pub(super) device: NetDevice,
}

impl Setup {
    pub(super) fn with_pairs(pairs: u16) -> Self {
        Self::with(pairs, NetConfig { queue_pairs: 8, ..NetConfig::new(MAC_ADDRESS) })
    }

    pub(super) fn with(pairs: u16, config: NetConfig) -> Self {
        let machine = Machine::new();
        let (link, hosts) = TestLink::new(pairs);
        let link = Arc::new(link);
        let device = NetDevice::new(link.clone(), config, machine.thread.handle());
        Self { machine, link, hosts, device }
    }

    pub(super) fn new() -> Self {
        Self::with_pairs(1)
    }

    pub(super) fn start(&mut self, index: u16, size: u16, features: u64) -> Driver {
        let mut driver = self.machine.driver(index, size);
        driver.features |= features;
        driver.start(&mut self.device);
        driver
    }

    fn counters(&self) -> NetHandle {
        self.device.handle()
    }
}

/// A frame as the link carries it: an empty header and a recognisable payload of `len` bytes.
pub(super) fn frame(len: usize) -> Vec<u8> {
    let payload = (0..len).map(|i| u8::try_from((i * 13 + i / 256) % 253).unwrap());
    [0; 12].into_iter().chain(payload).collect()
}

fn received(machine: &Machine, pieces: &[(u64, u32)]) -> Vec<u8> {
    pieces.iter().flat_map(|(address, len)| machine.bytes(*address, usize::try_from(*len).unwrap())).collect()
}

pub(super) fn arrived(machine: &Machine, host: &UnixDatagram) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 17];
    let mut len = None;
    machine.wait("a frame", || {
        len = host.recv(&mut bytes).ok();
        len.is_some()
    });
    bytes.truncate(len.unwrap());
    bytes
}

#[test]
fn frames_are_sent_from_any_layout() {
    let mut setup = Setup::new();
    let mut tx = setup.start(TX, 64, feature::RING_INDIRECT_DESC | feature::RING_EVENT_IDX);
    let bytes = frame(1000);
    setup.machine.fill(DATA, &bytes);
    tx.run(&[out(DATA, 1012)]);
    tx.run(&[out(DATA, 12), out(DATA + 12, 1000)]);
    tx.run(&(0..40).map(|i| out(DATA + i, 1)).chain([out(DATA + 40, 972)]).collect::<Vec<_>>());
    tx.add_indirect(DATA + 0x8000, &[out(DATA, 5), out(DATA + 5, 0), out(DATA + 5, 1007)]);
    tx.kick();
    tx.wait_used();
    for _ in 0..4 {
        assert_eq!(arrived(&setup.machine, &setup.hosts[0]), bytes);
    }
    let handle = setup.counters();
    assert_eq!((handle.counters().tx[0].frames.get(), handle.counters().tx[0].bytes.get()), (4, 4000));
}

#[test]
fn chains_that_are_no_frames_are_dropped_and_counted() {
    let mut setup = Setup::new();
    let mut tx = setup.start(TX, 64, 0);
    assert_eq!(tx.run(&[out(DATA, 12)]), 0, "no Ethernet header");
    assert_eq!(tx.run(&[out(DATA, 0)]), 0, "nothing");
    assert_eq!(tx.run(&[out(DATA, 100), inp(DATA, 12)]), 0, "writable");
    assert_eq!(tx.run(&[out(DATA, 60_000), out(DATA, 60_000)]), 0, "too long");
    assert_eq!(tx.run(&[out(RAM - 8, 100)]), 0, "outside RAM");
    assert_eq!(tx.run(&[Desc { flags: INDIRECT, ..out(RAM, 32) }]), 0, "a table outside RAM");
    let head = tx.add(&[out(DATA, 100)]);
    tx.set(head, Desc { flags: NEXT, next: head, ..out(DATA, 100) });
    tx.kick();
    assert_eq!(tx.wait_used(), (head, 0), "a loop");
    assert_eq!(setup.counters().counters().tx[0].malformed.get(), 7);
    assert_eq!(setup.counters().counters().tx[0].frames.get(), 0);
    assert!(!setup.machine.needs_reset());
}

#[test]
fn a_full_link_holds_frames_back_and_loses_none() {
    let mut setup = Setup::new();
    let mut tx = setup.start(TX, 256, feature::RING_EVENT_IDX);
    setup.machine.fill(DATA, &frame(30_000));
    for _ in 0..100 {
        tx.add(&[out(DATA, 30_012)]);
    }
    tx.kick();
    let mut count = 0;
    while count < 100 {
        assert_eq!(arrived(&setup.machine, &setup.hosts[0]).len(), 30_012);
        count += 1;
    }
    for _ in 0..100 {
        tx.wait_used();
    }
    tx.stop(&mut setup.device);
    assert_eq!(tx.state.next_used, 100);
}

#[test]
fn a_queue_stopped_while_the_link_is_full_goes_on_later() {
    let mut setup = Setup::new();
    let mut tx = setup.start(TX, 256, 0);
    setup.machine.fill(DATA, &frame(60_000));
    for _ in 0..40 {
        tx.add(&[out(DATA, 60_012)]);
    }
    tx.kick();
    tx.stop(&mut setup.device);
    assert_eq!(tx.state.next_avail, tx.state.next_used);
    tx.start(&mut setup.device);
    for _ in 0..40 {
        arrived(&setup.machine, &setup.hosts[0]);
    }
    assert_eq!(setup.counters().counters().tx[0].frames.get(), 40);
}

#[test]
fn a_frame_fills_as_many_mergeable_buffers_as_it_needs() {
    let mut setup = Setup::new();
    let mut rx = setup.start(RX, 64, MRG_RXBUF | GUEST_CSUM | GUEST_TSO4);
    assert_eq!(*setup.link.offloads.lock().unwrap(), [Offloads::CSUM | Offloads::TSO4]);
    let at = |i: u64| DATA + i * 0x1000;
    for i in 0..60 {
        rx.add(&[inp(at(i), 1500)]);
    }
    rx.kick();
    // Small, then longer than the first window, then as long as frames get.
    let mut next = 0;
    for len in [64, 1488, 1489, 30_000, 40_000, 100] {
        let sent = frame(len);
        setup.hosts[0].send(&sent).unwrap();
        let mut pieces = Vec::new();
        let mut total = 0;
        while total < sent.len() {
            let (_, written) = rx.wait_used();
            pieces.push((at(next), written));
            next += 1;
            total += usize::try_from(written).unwrap();
        }
        let mut expected = sent;
        expected[10..12].copy_from_slice(&u16::try_from(pieces.len()).unwrap().to_le_bytes());
        assert_eq!(received(&setup.machine, &pieces), expected, "{len}");
    }
    assert_eq!(setup.counters().counters().rx[0].frames.get(), 6);
    machine_was_interrupted(&setup.machine);
    rx.stop(&mut setup.device);
    let used = u16::try_from(next).unwrap();
    assert_eq!((rx.state.next_avail, rx.state.next_used), (used, used), "waiting buffers go back");
}

fn machine_was_interrupted(machine: &Machine) {
    machine.wait("the interrupt", || machine.interrupted());
}

#[test]
fn a_frame_waits_for_buffers_and_is_completed_when_they_come() {
    let mut setup = Setup::new();
    let mut rx = setup.start(RX, 64, MRG_RXBUF | feature::RING_EVENT_IDX);
    let sent = frame(900);
    setup.hosts[0].send(&sent).unwrap();
    rx.add(&[inp(DATA, 300)]);
    rx.kick();
    rx.add(&[inp(DATA + 300, 13)]);
    rx.kick();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(rx.used(), None, "nothing is handed over before it is whole");
    rx.add(&[inp(DATA + 313, 100), inp(DATA + 413, 4000)]);
    rx.kick();
    assert_eq!([rx.wait_used().1, rx.wait_used().1, rx.wait_used().1], [300, 13, 599]);
    let mut expected = sent;
    expected[10] = 3;
    assert_eq!(setup.machine.bytes(DATA, 912), expected);
}

#[test]
fn a_stop_in_the_middle_of_a_frame_gives_its_buffers_back() {
    let mut setup = Setup::new();
    let mut rx = setup.start(RX, 64, MRG_RXBUF);
    let handle = setup.counters();
    let wakeups = || handle.counters().rx[0].wakeups.get();
    setup.hosts[0].send(&frame(900)).unwrap();
    setup.machine.wait("the frame", || wakeups() > 0);
    let before = wakeups();
    rx.add(&[inp(DATA, 300)]);
    rx.kick();
    setup.machine.wait("the part of it that fits", || wakeups() > before);
    rx.stop(&mut setup.device);
    assert_eq!((rx.state.next_avail, rx.state.next_used), (0, 0));
    assert_eq!(handle.counters().rx[0].dropped.get(), 1);
    rx.start(&mut setup.device);
    setup.hosts[0].send(&frame(100)).unwrap();
    assert_eq!(rx.wait_used(), (0, 112));
}

#[test]
fn without_mergeable_buffers_a_frame_has_one_chain_or_is_lost() {
    let mut setup = Setup::new();
    let mut rx = setup.start(RX, 64, 0);
    rx.add(&[inp(DATA, 12), inp(DATA + 12, 500)]);
    rx.add(&[inp(DATA + 0x1000, 11), inp(DATA + 0x100b, 1519)]);
    rx.kick();
    setup.hosts[0].send(&frame(501)).unwrap();
    setup.hosts[0].send(&frame(500)).unwrap();
    setup.hosts[0].send(&frame(1500)).unwrap();
    assert_eq!([rx.wait_used().1, rx.wait_used().1], [512, 1512]);
    assert_eq!(setup.machine.bytes(DATA + 10, 2), [1, 0]);
    assert_eq!(setup.machine.bytes(DATA + 0x100a, 2), [1, 0], "split over two buffers");
    assert_eq!(setup.machine.bytes(DATA + 12, 500), frame(500)[12..]);
    assert_eq!(setup.counters().counters().rx[0].dropped.get(), 1);
}

#[test]
fn bad_receive_buffers_come_back_empty() {
    let mut setup = Setup::new();
    let mut rx = setup.start(RX, 64, MRG_RXBUF);
    for bad in [
        &[inp(DATA, 11)][..],
        &[out(DATA, 100)],
        &[inp(RAM, 100)],
        &[inp(DATA, 0)],
        &[out(DATA, 1), inp(DATA, 99)],
    ] {
        assert_eq!(rx.run(bad), 0);
    }
    let many = (0..1100).map(|_| inp(DATA, 1)).collect::<Vec<_>>();
    rx.add_indirect(DATA + 0x10000, &many);
    rx.kick();
    assert_eq!(rx.wait_used().1, 0);
    assert_eq!(setup.counters().counters().rx[0].malformed.get(), 6);
    // Many tiny pieces in one chain and many chains are fine.
    rx.add_indirect(DATA + 0x10000, &many[..1000]);
    rx.add_indirect(DATA + 0x20000, &many[..1000]);
    rx.kick();
    setup.hosts[0].send(&frame(1500)).unwrap();
    assert_eq!([rx.wait_used().1, rx.wait_used().1], [1000, 512]);
}

#[test]
fn frames_that_come_before_buffers_wait_in_the_link() {
    let mut setup = Setup::new();
    let mut rx = setup.start(RX, 256, MRG_RXBUF | feature::RING_EVENT_IDX);
    for len in 1..=8 {
        setup.hosts[0].send(&frame(len * 20)).unwrap();
    }
    for i in 0..8u32 {
        rx.add(&[inp(DATA, 2000)]);
        rx.kick();
        assert_eq!(rx.wait_used().1, 12 + 20 * (i + 1));
    }
    setup.hosts[0].send(&[0; 12]).unwrap();
    setup.hosts[0].send(&frame(1)).unwrap();
    rx.add(&[inp(DATA, 2000)]);
    rx.kick();
    assert_eq!(rx.wait_used().1, 13, "a header alone is no frame");
}

#[test]
fn no_notification_is_lost_when_the_driver_gives_only_those_asked_for() {
    for event_idx in [0, feature::RING_EVENT_IDX] {
        let mut setup = Setup::new();
        let mut rx = setup.start(RX, 16, MRG_RXBUF | event_idx);
        let mut tx = setup.start(TX, 16, event_idx);
        let mut bytes = [0; 2000];
        for round in 0..3000usize {
            let sent = frame(20 + round % 400);
            let len = u32::try_from(sent.len()).unwrap();
            setup.machine.fill(DATA, &sent);
            tx.add(&[out(DATA, len)]);
            tx.kick_if_wanted();
            tx.wait_used();
            let count = setup.hosts[0].recv(&mut bytes).unwrap();
            // Buffers come one by one, before or after the frame.
            if round % 2 == 0 {
                rx.add(&[inp(DATA + 0x1000, 2000)]);
                rx.kick_if_wanted();
            }
            setup.hosts[0].send(&bytes[..count]).unwrap();
            if round % 2 == 1 {
                rx.add(&[inp(DATA + 0x1000, 2000)]);
                rx.kick_if_wanted();
            }
            assert_eq!(rx.wait_used().1, len);
        }
    }
}

#[test]
fn an_unplugged_cable_loses_frames_and_the_driver_is_told() {
    let mut setup = Setup::new();
    let mut rx = setup.start(RX, 64, MRG_RXBUF);
    let mut tx = setup.start(TX, 64, 0);
    let handle = setup.device.handle();
    let generation = setup.machine.events.generation();
    handle.set_link(false);
    assert_ne!(setup.machine.events.generation(), generation);
    let mut status = [9; 2];
    setup.device.read_config(6, &mut status);
    assert_eq!(status, [0, 0]);
    tx.run(&[out(DATA, 100)]);
    rx.add(&[inp(DATA, 2000)]);
    rx.kick();
    setup.hosts[0].send(&frame(100)).unwrap();
    setup.machine.wait("both losses", || {
        (handle.counters().tx[0].dropped.get(), handle.counters().rx[0].dropped.get()) == (1, 1)
    });
    handle.set_link(true);
    setup.hosts[0].send(&frame(101)).unwrap();
    assert_eq!(rx.wait_used().1, 113);
}

#[test]
fn without_multiqueue_the_third_queue_is_the_control_queue() {
    let mut setup = Setup::with_pairs(2);
    assert_ne!(setup.device.features() & MQ, 0);
    let mut ctrl = setup.start(2, 64, CTRL_RX);
    assert_eq!(command(&setup, &mut ctrl, &[0, 0, 1]), 0);
    ctrl.stop(&mut setup.device);
    assert!(setup.device.start_queue(9, ctrl.ring()).is_err());
    assert_eq!(setup.device.role(2, MQ), Role::Receive(1));
    assert_eq!(setup.device.role(4, MQ), Role::Control);
}

#[test]
fn pairs_have_queues_of_their_own() {
    let mut setup = Setup::with_pairs(2);
    let mut rx = setup.start(2, 64, MQ | MRG_RXBUF);
    let mut tx = setup.start(3, 64, MQ);
    setup.machine.fill(DATA, &frame(100));
    tx.run(&[out(DATA, 112)]);
    assert_eq!(arrived(&setup.machine, &setup.hosts[1]), frame(100));
    rx.add(&[inp(DATA, 200)]);
    rx.kick();
    setup.hosts[1].send(&frame(50)).unwrap();
    assert_eq!(rx.wait_used().1, 62);
}

#[test]
fn the_configuration_says_what_the_link_is() {
    let mut setup = Setup::with_pairs(2);
    setup.device.write_config(0, &[0xff; 6]);
    let mut space = [0; 19];
    setup.device.read_config(0, &mut space);
    assert_eq!(space, [2, 0, 0, 1, 2, 3, 1, 0, 2, 0, 0xdc, 5, 0x10, 0x27, 0, 0, 1, 0, 0]);
    let features = setup.device.features();
    assert_eq!(features & (GUEST_TSO4 | GUEST_TSO6 | CSUM), GUEST_TSO4 | GUEST_TSO6 | CSUM);
    assert_eq!(features >> 54 & 7, 0, "the link knows no UDP segmentation");
}

#[test]
fn headers_that_make_no_sense_are_not_the_hosts_problem() {
    let mut setup = Setup::new();
    let mut tx = setup.start(TX, 64, CSUM | HOST_TSO4);
    let mut send = |header: [u8; 12], layout: &[Desc]| {
        setup.machine.fill(DATA, &[&header[..], &frame(3000)[12..]].concat());
        tx.run(layout)
    };
    let whole = [out(DATA, 3012)];
    let good = [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0];
    // However the header is cut, the host gets it whole, and clean.
    let layouts: [&[Desc]; 4] = [
        &whole,
        &[out(DATA, 12), out(DATA + 12, 3000)],
        &[out(DATA, 5), out(DATA + 5, 3), out(DATA + 8, 3004)],
        &[out(DATA, 1), out(DATA + 1, 11), out(DATA + 12, 1), out(DATA + 13, 2999)],
    ];
    for layout in layouts {
        send([1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 9, 9], layout);
        let got = arrived(&setup.machine, &setup.hosts[0]);
        assert_eq!((&got[..12], &got[12..]), (&good[..], &frame(3000)[12..]));
    }
    for bad in [
        [1, 1, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0xff, 0xff, 16, 0, 0, 0],
        [0, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0],
        [1, 5, 0, 0, 0, 4, 34, 0, 6, 0, 0, 0],
    ] {
        send(bad, &whole);
    }
    let counters = setup.counters();
    let counters = &counters.counters().tx[0];
    assert_eq!((counters.frames.get(), counters.malformed.get(), counters.dropped.get()), (4, 4, 0));
    assert!(counters.wakeups.get() > 0 && counters.interrupts.get() > 0);
}

#[test]
fn a_limited_card_is_as_fast_as_it_may_be_and_loses_nothing() {
    let limit = crate::virtio::RateLimit { operations: std::num::NonZeroU64::new(100), bytes: None };
    let mut setup = Setup::with(1, NetConfig { limit, ..NetConfig::new(MAC_ADDRESS) });
    let (mut rx, mut tx) = (setup.start(RX, 64, MRG_RXBUF), setup.start(TX, 64, 0));
    setup.machine.fill(DATA, &frame(100));
    let started = std::time::Instant::now();
    for _ in 0..30 {
        tx.add(&[out(DATA, 112)]);
        rx.add(&[inp(DATA + 0x1000, 2000)]);
        setup.hosts[0].send(&frame(100)).unwrap();
    }
    tx.kick();
    rx.kick();
    for _ in 0..30 {
        rx.wait_used();
        tx.wait_used();
    }
    // Ten at once, the others at their pace; the two ways at the same time.
    let took = started.elapsed();
    assert!(took.as_millis() >= 190, "{took:?}");
    assert_eq!(setup.counters().counters().rx[0].frames.get(), 30);
}

#[test]
fn impossible_rings_stop_the_queues() {
    for index in [RX, TX, 2] {
        rings_outside_ram_are_refused(&mut Setup::new().device, index);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn garbage_does_no_harm(garbage in any_garbage(), index in 0..3u16, mergeable: bool, frames in 0..6usize) {
        let mut setup = Setup::new();
        for i in 0..frames {
            setup.hosts[0].send(&frame(i * 700)).unwrap();
        }
        let features = if mergeable { MRG_RXBUF } else { 0 };
        feed_garbage_with(&mut setup.device, &setup.machine, index, &garbage, features);
    }
}
