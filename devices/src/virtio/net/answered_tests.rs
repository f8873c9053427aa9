//! What is answered in front of the link reaches the driver, in between what the link brings.

use ::net::dhcp::{Answers, Extras4, LEASE_SECONDS, Lease4};
use ::net::{Answered, MacAddress};

use super::test_link::TestLink;
use super::*;
use crate::virtio::feature;
use crate::virtio::testing::*;

const SERVER: [u8; 4] = [10, 0, 2, 1];

fn answers() -> Answers {
    let lease = Lease4 {
        client: None,
        address: [10, 0, 2, 2].into(),
        prefix: 24,
        server: SERVER.into(),
        router: Some(SERVER.into()),
        routes: Vec::new(),
        dns: Vec::new(),
        search: Vec::new(),
        hostname: None,
        mtu: None,
        extras: Extras4::default(),
        seconds: LEASE_SECONDS,
    };
    Answers {
        server_mac: MacAddress([2, 0, 0, 0, 0, 0]),
        lease4: Some(lease),
        lease6: None,
        advert: None,
        neighbours: vec![std::net::Ipv4Addr::from(SERVER).into()],
    }
}

/// Who has the server's address?
fn question() -> Vec<u8> {
    let guest = [2, 0, 0, 1, 2, 3];
    let arp =
        [&[0; 12], &[0xff; 6][..], &guest, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &guest, &[10, 0, 2, 2], &[0; 6]];
    [&arp.concat()[..], &SERVER].concat()
}

fn start(machine: &Machine, device: &mut NetDevice, index: u16) -> Driver {
    let mut driver = machine.driver(index, 64);
    driver.features |= feature::RING_EVENT_IDX;
    driver.start(device);
    driver
}

#[test]
fn answers_wake_a_receive_queue_that_waits_for_its_link() {
    let machine = Machine::new();
    let (link, hosts) = TestLink::new(1);
    let link = Answered::new(Arc::new(link), answers()).unwrap();
    let handle = link.handle();
    let config = NetConfig::new([2, 0, 0, 1, 2, 3]);
    let mut device = NetDevice::new(Arc::new(link), config, machine.thread.handle());
    let (mut rx, mut tx) = (start(&machine, &mut device, 0), start(&machine, &mut device, 1));
    let question = question();
    machine.fill(DATA, &question);
    let len = u32::try_from(question.len()).unwrap();
    for _ in 0..50 {
        rx.add(&[inp(DATA + 0x1000, 2000)]);
        rx.kick();
        tx.run(&[out(DATA, len)]);
        assert_eq!(rx.wait_used().1, 72);
        // One buffer; behind its header a reply to the guest, from the address asked for.
        assert_eq!(machine.bytes(DATA + 0x1000 + 10, 8), [1, 0, 2, 0, 0, 1, 2, 3]);
        assert_eq!(machine.bytes(DATA + 0x1000 + 12 + 14 + 14, 4), SERVER);
        rx.add(&[inp(DATA + 0x1000, 2000)]);
        rx.kick();
        hosts[0].send(&[7; 100]).unwrap();
        assert_eq!(rx.wait_used().1, 100);
    }
    // Without buffers they wait, and the network has seen none of the questions.
    tx.run(&[out(DATA, len)]);
    rx.add(&[inp(DATA + 0x1000, 2000)]);
    rx.kick();
    assert_eq!(rx.wait_used().1, 72);
    assert_eq!(handle.report().neighbours, 51);
    assert!(hosts[0].recv(&mut [0; 2000]).is_err());
    rx.stop(&mut device);
    tx.stop(&mut device);
}
