//! The card on a real tap, in a network namespace of the test's own. Where that is not allowed nothing is tested.
#![expect(unsafe_code, reason = "the test makes a tap and a packet socket")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

use ::net::Tap;

use super::features::{CSUM, GUEST_CSUM, GUEST_TSO4, MRG_RXBUF};
use super::*;
use crate::virtio::feature;
use crate::virtio::testing::*;

/// linux/if_tun.h.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNSETPERSIST: libc::Ioctl = 0x4004_54cb;

fn ok(result: i32) -> i32 {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    result
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: an all-zero ifreq is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request
}

fn short(flags: i32) -> libc::c_short {
    libc::c_short::try_from(flags).unwrap()
}

/// Makes a tap, brings it up, and opens a socket that sends and receives its frames on the kernel's side.
fn tap_and_peer(name: &str) -> File {
    let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    let mut wanted = request(name);
    wanted.ifr_ifru.ifru_flags = short(libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR);
    let protocol = u16::to_be(0x88b5); // An EtherType for experiments, so that nothing else is heard.
    let raw = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: each call gets a structure of the type that it takes.
    unsafe {
        ok(libc::ioctl(tun.as_raw_fd(), TUNSETIFF, &raw mut wanted));
        ok(libc::ioctl(tun.as_raw_fd(), TUNSETPERSIST, 1));
        let socket = ok(libc::socket(libc::AF_PACKET, raw, i32::from(protocol)));
        let mut wanted = request(name);
        wanted.ifr_ifru.ifru_flags = short(libc::IFF_UP | libc::IFF_RUNNING);
        ok(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw mut wanted));
        let mut wanted = request(name);
        ok(libc::ioctl(socket, libc::SIOCGIFINDEX, &raw mut wanted));
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
        address.sll_protocol = protocol;
        address.sll_ifindex = wanted.ifr_ifru.ifru_ifindex;
        let size = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap();
        ok(libc::bind(socket, (&raw const address).cast(), size));
        File::from_raw_fd(socket)
    }
}

fn frame(len: usize, fill: u8) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9], &[0x88, 0xb5]].concat();
    frame.resize(len, fill);
    frame
}

/// Runs `test` with the two ends of a tap, on a thread in a network namespace of its own.
fn on_a_tap(test: impl FnOnce(&mut File, Arc<Tap>) + Send + 'static) {
    let run = move || {
        // SAFETY: only this thread changes its namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 || File::open("/dev/net/tun").is_err() {
            eprintln!("not allowed to make a network namespace: nothing tested");
            return;
        }
        let mut peer = tap_and_peer("tap0");
        let link = Arc::new(Tap::open("tap0", 1).unwrap());
        test(&mut peer, link);
    };
    std::thread::spawn(run).join().unwrap();
}

#[test]
fn frames_pass_between_guest_and_kernel() {
    on_a_tap(exchange);
}

#[test]
fn queues_are_reset_and_cables_pulled_while_frames_pass() {
    on_a_tap(storm);
}

/// 1000 changes of the link and 200 resets of both queues, with frames under way all the time; then all is as before.
fn storm(peer: &mut File, link: Arc<Tap>) {
    use std::io::{Read, Write};
    const BUFFERS: u64 = 16;
    let machine = Machine::new();
    let mut device = NetDevice::new(link, NetConfig::new([2, 0, 0, 0, 0, 1]), machine.thread.handle());
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
    let mut seen = 0u64;
    let mut bytes = vec![0; 4096];
    for turn in 0..1000u16 {
        handle.set_link(turn % 2 == 1);
        let mut sent = frame(200, 0);
        sent[14..16].copy_from_slice(&turn.to_le_bytes());
        let _ = peer.write(&sent);
        machine.fill(DATA + 0x20000, &[&[0; 12][..], &sent].concat());
        tx.run(&[out(DATA + 0x20000, 212)]);
        if turn % 5 == 4 {
            rx.stop(&mut device);
            tx.stop(&mut device);
            rx.start(&mut device);
            tx.start(&mut device);
        }
        while let Some((head, _)) = rx.used() {
            seen += 1;
            rx.add(&[inp(DATA + u64::from(head) % BUFFERS * 0x1000, 2000)]);
            rx.kick_if_wanted();
        }
        while peer.read(&mut bytes).is_ok_and(|len| len > 0) {}
    }
    let counters = handle.counters();
    assert_eq!((counters.tx[0].frames.get(), counters.tx[0].dropped.get()), (500, 500));
    assert_eq!((counters.tx[0].malformed.get(), counters.rx[0].malformed.get()), (0, 0));
    assert!(seen > 0 && !machine.needs_reset());
    let last = frame(300, 7);
    machine.wait("the last frame", || {
        let _ = peer.write(&last);
        rx.used().is_some_and(|(head, _)| {
            let at = DATA + u64::from(head) % BUFFERS * 0x1000;
            let found = machine.bytes(at + 12, 300) == last;
            rx.add(&[inp(at, 2000)]);
            rx.kick_if_wanted();
            found
        })
    });
}

/// Waits until the guest sees `frame`; others are the kernel's own (which looks for IPv6 routers) or came before.
fn wait_for(machine: &Machine, rx: &mut Driver, frame: &[u8]) {
    loop {
        let len = usize::try_from(rx.run(&[inp(DATA, 600), inp(DATA + 600, 1400)])).unwrap();
        assert_eq!(machine.bytes(DATA + 10, 2), [1, 0]);
        if machine.bytes(DATA + 12, len - 12) == frame {
            return;
        }
    }
}

fn exchange(peer: &mut File, link: Arc<Tap>) {
    use std::io::{Read, Write};
    let machine = Machine::new();
    let mut device = NetDevice::new(link, NetConfig::new([2, 0, 0, 0, 0, 1]), machine.thread.handle());
    let features = MRG_RXBUF | CSUM | GUEST_CSUM | GUEST_TSO4 | feature::RING_EVENT_IDX;
    assert_eq!(device.features() & features, features);
    let (mut rx, mut tx) = (machine.driver(0, 64), machine.driver(1, 64));
    rx.features |= features;
    tx.features |= features;
    rx.start(&mut device);
    tx.start(&mut device);
    // The kernel starts sending some time after the card has opened the tap.
    rx.add(&[inp(DATA, 2000)]);
    rx.kick();
    machine.wait("the first frame", || {
        let _ = peer.write(&frame(60, 0xff));
        rx.used().is_some()
    });
    for round in 0..40u8 {
        let sent = frame(60 + usize::from(round) * 30, round);
        assert_eq!(peer.write(&sent).unwrap(), sent.len());
        wait_for(&machine, &mut rx, &sent);
        machine.fill(DATA + 0x1000, &[&[0; 12][..], &sent].concat());
        tx.run(&[out(DATA + 0x1000, u32::try_from(sent.len() + 12).unwrap())]);
        let mut got = vec![0; 4096];
        let mut count = 0;
        machine.wait("the frame", || {
            count = peer.read(&mut got).unwrap_or(0);
            count > 0
        });
        assert_eq!(got[..count], sent);
    }
    let handle = device.handle();
    assert_eq!(handle.counters().tx[0].frames.get(), 40);
    // A header that asks for the impossible does not get that far.
    machine.fill(
        DATA + 0x1000,
        &[&[1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0][..], &frame(60, 0)].concat(),
    );
    tx.run(&[out(DATA + 0x1000, 72)]);
    assert_eq!(handle.counters().tx[0].malformed.get(), 1);
    rx.stop(&mut device);
    tx.stop(&mut device);
}
