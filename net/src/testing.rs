//! What tests of several modules need: a network namespace of their own, memory as buffers, descriptors watched.
#![expect(unsafe_code, reason = "the tests make raw frames and watch descriptors")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::{Command, Output, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::IoBuf;
use crate::netlink::Namespace;

/// Read while a program is being started.
static STARTING: RwLock<()> = RwLock::new(());

/// Does what starts a program. Until that runs it has all files open that this process had when it was started.
pub(crate) fn starting<T>(start: impl FnOnce() -> T) -> T {
    let _starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    start()
}

/// Waits until what was closed before is closed for good, though another test was just starting a program: a tap is free, a listener
/// gone, a script no longer written to.
pub(crate) fn settle() {
    drop(STARTING.write().unwrap_or_else(PoisonError::into_inner));
}

/// What a program says that reads nothing.
fn output(command: &mut Command) -> io::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    starting(|| command.spawn())?.wait_with_output()
}

/// Runs `test` in a new network namespace; says so and does nothing where that is not allowed, or where there are no
/// judges.
pub(crate) fn in_namespace(test: impl FnOnce() + Send) {
    let skipped = |why: String| {
        eprintln!("{}: skipped, {why}", std::thread::current().name().unwrap_or("a test"));
    };
    for judge in ["ip", "nft"] {
        if let Err(error) = output(Command::new(judge).arg("--version")) {
            return skipped(format!("{judge} cannot be run: {error}"));
        }
    }
    match Namespace::create() {
        Ok(namespace) => namespace.run(test).unwrap(),
        Err(error) => skipped(format!("not allowed to make a network namespace: {error}")),
    }
}

/// Runs a program that must succeed; what it prints.
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = output(Command::new(program).args(arguments.split(' '))).unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Memory of a test as a buffer.
pub(crate) fn io_buf(bytes: &mut [u8]) -> IoBuf {
    // SAFETY: the test keeps the bytes alive and looks at them only after the call.
    unsafe { IoBuf::from_raw(bytes.as_mut_ptr(), bytes.len()) }
}

/// Bounds what a socket holds for a peer that does not read.
pub(crate) fn socket_buffer(socket: &impl AsRawFd, bytes: libc::c_int) {
    let len = libc::socklen_t::try_from(size_of_val(&bytes)).unwrap();
    let value = (&raw const bytes).cast();
    // SAFETY: the option reads an int.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, value, len) };
    assert_eq!(result, 0);
}

/// Whether something can be read before the time is over.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd is passed.
    unsafe { libc::poll(&raw mut poll, 1, i32::try_from(limit.as_millis()).unwrap()) == 1 }
}

/// Watches a descriptor as devices do: told once of each change.
pub(crate) struct Edge(OwnedFd);

impl Edge {
    pub(crate) fn new(fd: BorrowedFd<'_>) -> Self {
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET).cast_unsigned(), u64: 0 };
        // SAFETY: the descriptor is new and ours alone; the event outlives the call.
        unsafe {
            let epoll = OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC));
            let added =
                libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event);
            assert_eq!(added, 0);
            Self(epoll)
        }
    }

    pub(crate) fn fires(&self) -> bool {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: there is room for one event.
        unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, 20) == 1 }
    }
}

/// Sends a frame out of an interface, as any program may that has the right.
pub(crate) fn send_raw(interface: &str, frame: &[u8]) {
    let index = crate::netlink::Netlink::open().unwrap().interface(interface).unwrap().index;
    // SAFETY: the address is of the family's kind, and all lengths are those of what is passed.
    unsafe {
        let socket =
            OwnedFd::from_raw_fd(libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0));
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
        to.sll_ifindex = i32::try_from(index).unwrap();
        let len = libc::socklen_t::try_from(size_of_val(&to)).unwrap();
        let to = (&raw const to).cast();
        let sent = libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, to, len);
        assert_eq!(usize::try_from(sent), Ok(frame.len()));
    }
}

/// Takes all rights from the calling thread, and from no other.
pub(crate) fn give_up_rights() {
    // linux/capability.h: version 3, the calling thread; effective, permitted and inheritable, twice.
    let header = [0x2008_0522_u32, 0];
    let none = [0_u32; 6];
    // SAFETY: both are as long as that version has them.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(result, 0);
}

/// Makes the calling thread, and no other, an ordinary user's.
pub(crate) fn become_nobody() {
    let nobody = 65_534_u32;
    // SAFETY: no pointers are passed. The C library's functions would change all threads.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setresgid, nobody, nobody, nobody),
            libc::syscall(libc::SYS_setresuid, nobody, nobody, nobody),
        ]
    };
    assert_eq!(results, [0, 0]);
}
