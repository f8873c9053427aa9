//! Taps of a network namespace of the test's own. Without the right to make one only the refusals are tested.
#![expect(unsafe_code, reason = "the tests make a network namespace and raw frames")]

use std::fs::OpenOptions;

use super::*;

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

use sys::{MULTI_QUEUE, TAP_FLAGS};
