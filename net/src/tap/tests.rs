//! Taps of a network namespace of the test's own. Without the right to make one only the refusals are tested.
#![expect(unsafe_code, reason = "the tests make a network namespace and raw frames")]

use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::testing::settle;

/// `TUNSETPERSIST`, linux/if_tun.h.
const TUNSETPERSIST: libc::Ioctl = 0x4004_54cb;

/// Runs `test` on a thread in a new network namespace; does nothing where that is not allowed.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        // SAFETY: only this thread changes its namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            eprintln!("not allowed to make a network namespace: nothing tested");
            return;
        }
        if std::fs::File::open("/dev/net/tun").is_ok() {
            test();
        }
    };
    std::thread::spawn(run).join().unwrap();
}

fn make_tap(name: &str, flags: i32) {
    use std::os::fd::AsRawFd;
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    sys::attach(&file, &sys::Name::new(name).unwrap(), flags).unwrap();
    // SAFETY: the request takes its argument by value.
    assert_eq!(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETPERSIST, 1) }, 0);
    drop(file);
    settle();
}

fn io_buf(bytes: &mut [u8]) -> IoBuf {
    // SAFETY: the test keeps the bytes alive and looks at them only after the call.
    unsafe { IoBuf::from_raw(bytes.as_mut_ptr(), bytes.len()) }
}

#[test]
fn names_that_do_not_exist_are_refused_and_nothing_is_created() {
    for name in ["no-such-tap", "", "a-name-longer-than-the-kernel-allows", "a/b", "a\0b"] {
        assert!(matches!(Tap::open(name, 1), Err(TapError::NoSuchInterface { .. })), "{name:?}");
    }
    assert_eq!(sys::interface_index("no-such-tap"), None);
    assert!(matches!(Tap::open("lo", 0), Err(TapError::NoQueues)));
    assert!(matches!(Tap::from_fds(Vec::new()), Err(TapError::NoQueues)));
}

#[test]
fn other_interfaces_and_files_are_refused() {
    assert!(matches!(Tap::open("lo", 1), Err(TapError::NotATap { .. })));
    let file = OwnedFd::from(File::open("/dev/null").unwrap());
    assert!(matches!(Tap::from_fd(file), Err(TapError::NotATapFd(_))));
}

#[test]
fn a_tap_opens_once_and_tells_what_it_can() {
    in_namespace(|| {
        make_tap("one", TAP_FLAGS);
        let tap = Tap::open("one", 1).unwrap();
        assert_eq!((tap.name(), tap.queue_pairs(), tap.mtu()), ("one", 1, Some(1500)));
        assert!(tap.offloads().contains(Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6));
        for set in
            [Offloads::NONE, Offloads::CSUM, Offloads::TSO4, tap.offloads(), Offloads::CSUM | Offloads::USO4]
        {
            tap.set_offloads(set).unwrap();
        }
        assert!(matches!(Tap::open("one", 1), Err(TapError::InUse { .. })));
        assert!(matches!(Tap::open("one", 2), Err(TapError::SingleQueue { queues: 2, .. })));
        let mut queue = tap.open_queue(0).unwrap();
        let mut frame = [0; 64];
        let empty = queue.receive(&[io_buf(&mut frame)]).map_err(|error| error.kind());
        assert_eq!(empty, Err(io::ErrorKind::WouldBlock));
        assert!(queue.send(&[io_buf(&mut frame)]).is_err(), "the interface is down");
        assert!(tap.open_queue(1).is_err());
        drop((tap, queue));
        settle();
        let again = Tap::open("one", 1);
        assert!(again.is_ok(), "closing it makes it free: {again:?}");
    });
}

#[test]
fn queues_of_a_multi_queue_tap_come_and_go() {
    in_namespace(|| {
        make_tap("many", TAP_FLAGS | MULTI_QUEUE);
        let tap = Tap::open("many", 3).unwrap();
        for pairs in [1, 3, 2, 0, 9, 1] {
            tap.set_active_pairs(pairs).unwrap();
            assert_eq!(*tap.active.lock().unwrap(), pairs.clamp(1, 3));
        }
        drop(tap);
        assert_eq!(Tap::open("many", 1).unwrap().queue_pairs(), 1, "one queue of a multi-queue tap will do");
    });
}

#[test]
fn files_handed_over_are_checked() {
    in_namespace(|| {
        let attached = |name, flags| {
            let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
            sys::attach(&file, &sys::Name::new(name).unwrap(), flags).unwrap();
            OwnedFd::from(file)
        };
        let bare = attached("bare", libc::IFF_TAP | libc::IFF_NO_PI);
        assert!(matches!(Tap::from_fd(bare), Err(TapError::NoHeader { .. })));
        let two = vec![attached("a", TAP_FLAGS), attached("b", TAP_FLAGS)];
        assert!(matches!(Tap::from_fds(two), Err(TapError::DifferentTaps { .. })));
        assert_eq!(Tap::from_fd(attached("fine", TAP_FLAGS)).unwrap().name(), "fine");
    });
}

/// The tests' `/sys` is of another namespace, and where `/dev` has no node of the macvtap's one is made.
#[test]
fn a_macvtap_is_opened_without_sysfs_and_nodes_of_its_namespace() {
    use crate::netlink::{MacvtapMode, Netlink, NewInterface, NewKind};
    in_namespace(|| {
        let mut netlink = Netlink::open().unwrap();
        // Indexes, and with them nodes in `/dev`, that nobody else's macvtaps have.
        let mut index = 900_000_000 + std::process::id();
        let mut make = |name, kind, mac| {
            index += 1;
            netlink.create(&NewInterface { name, kind, mac, mtu: None, index: Some(index) }).unwrap();
            let index = netlink.interface(name).unwrap().index;
            netlink.set_up(index, true).unwrap();
            index
        };
        let parent = make("one", NewKind::Veth { peer: "two" }, None);
        let peer = sys::interface_index("two").unwrap();
        let mac = crate::MacAddress([2, 0, 0, 0, 0, 7]);
        make("mvt0", NewKind::Macvtap { parent, mode: MacvtapMode::Bridge }, Some(mac));
        make("mvt1", NewKind::Macvtap { parent, mode: MacvtapMode::Bridge }, None);
        Netlink::open().unwrap().set_up(peer, true).unwrap();
        let opened = Tap::open("mvt0", 2);
        if let Err(TapError::Device { source, .. }) = &opened
            && source.kind() == io::ErrorKind::PermissionDenied
        {
            eprintln!("not allowed to open devices: nothing tested");
            return;
        }
        let tap = opened.unwrap();
        assert_eq!((tap.name(), tap.queue_pairs(), tap.mtu()), ("mvt0", 2, Some(1500)));
        assert!(tap.offloads().contains(Offloads::CSUM | Offloads::TSO4));

        // What the cable's other end sends to the address arrives, behind its header.
        let index = sys::interface_index("mvt0").unwrap();
        let file = DeviceFile::of("mvt0", index).unwrap();
        assert!(DeviceFile::of("mvt0", index + 1000).is_err());
        let other = DeviceFile::of("mvt1", sys::interface_index("mvt1").unwrap()).unwrap();
        assert_ne!(file, other);
        let name = |name| sys::Name::new(name).unwrap();
        let opened = other.open().unwrap();
        assert!(device_file::belongs(&opened, &name("mvt1")).unwrap());
        assert!(!device_file::belongs(&opened, &name("mvt0")).unwrap(), "the addresses tell");
        let _ = std::fs::remove_file(other.node());
        assert!(other.open().is_ok(), "by a node of our own");
        // Other tests may have such nodes of other devices.
        let number = opened.metadata().unwrap().rdev();
        let left = format!("/dev/.kubevmm-{}-{number:x}", std::process::id());
        assert!(!std::fs::exists(left).unwrap());

        let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, 9]].concat();
        frame.extend([0x88, 0xb5]);
        frame.resize(60, 5);
        crate::testing::send_raw("two", &frame);
        let mut memory = [0; 200];
        let mut queues = (0..2).map(|pair| tap.open_queue(pair).unwrap()).collect::<Vec<_>>();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let len = loop {
            let mut received = queues.iter_mut().map(|queue| queue.receive(&[io_buf(&mut memory)]));
            match received.find_map(Result::ok) {
                Some(len) if memory[24..26] == [0x88, 0xb5] => break len,
                _ => assert!(std::time::Instant::now() < deadline, "no frame"),
            }
        };
        assert_eq!((len, &memory[12..72]), (72, &frame[..]));
    });
}

use super::device_file::DeviceFile;
use sys::{MULTI_QUEUE, TAP_FLAGS};
