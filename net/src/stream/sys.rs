//! The system calls of stream sockets and of what tells that they are ready.
#![expect(
    unsafe_code,
    reason = "frames go between the socket and a guest's memory, which is only known by address"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::IoBuf;

/// What is put in front of each frame, and read behind it: a length.
pub(super) const PREFIX: usize = 4;

/// Receives into `bufs`, then up to four bytes into `next`.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    bufs: &mut Vec<IoBuf>,
    next: &mut [u8; PREFIX],
) -> io::Result<usize> {
    // SAFETY: `next` outlives the call, and nobody looks at it meanwhile.
    bufs.push(unsafe { IoBuf::from_raw(next.as_mut_ptr(), PREFIX) });
    receive_all(socket, bufs)
}

/// Receives into memory of our own.
pub(super) fn receive_into(socket: BorrowedFd<'_>, to: &mut [u8]) -> io::Result<usize> {
    // SAFETY: as above.
    receive_all(socket, &[unsafe { IoBuf::from_raw(to.as_mut_ptr(), to.len()) }])
}

/// Sends the prefix, then `bufs`.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    prefix: &mut [u8; PREFIX],
    bufs: &mut [IoBuf],
) -> io::Result<usize> {
    if let Some(first) = bufs.first_mut() {
        // SAFETY: `prefix` outlives the call and is only read by it.
        *first = unsafe { IoBuf::from_raw(prefix.as_mut_ptr(), PREFIX) };
    }
    send_all(socket, bufs)
}

/// Sends from memory of our own.
pub(super) fn send_from(socket: BorrowedFd<'_>, from: &mut [u8]) -> io::Result<usize> {
    // SAFETY: as above.
    send_all(socket, &[unsafe { IoBuf::from_raw(from.as_mut_ptr(), from.len()) }])
}

fn message(bufs: &[IoBuf]) -> libc::msghdr {
    // SAFETY: an all-zero msghdr is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = bufs.as_ptr().cast_mut().cast();
    message.msg_iovlen = bufs.len() as _;
    message
}

fn moved(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn receive_all(socket: BorrowedFd<'_>, bufs: &[IoBuf]) -> io::Result<usize> {
    let mut message = message(bufs);
    // SAFETY: an IoBuf is laid out as an iovec and its maker vouched for the memory.
    moved(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) })
}

fn send_all(socket: BorrowedFd<'_>, bufs: &[IoBuf]) -> io::Result<usize> {
    let message = message(bufs);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: as in `receive_all`.
    moved(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) })
}

/// Several descriptors as one that is readable while any of them is.
#[derive(Debug)]
pub(super) struct Ready(OwnedFd);

impl Ready {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        owned(fd).map(Self)
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLRDHUP;
        let mut event = libc::epoll_event { events: interest.cast_unsigned(), u64: 0 };
        self.control(libc::EPOLL_CTL_ADD, fd, &mut event)
    }

    pub(super) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, &mut libc::epoll_event { events: 0, u64: 0 })
    }

    fn control(
        &self,
        operation: libc::c_int,
        fd: BorrowedFd<'_>,
        event: &mut libc::epoll_event,
    ) -> io::Result<()> {
        // SAFETY: the event outlives the call.
        let result = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd.as_raw_fd(), event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }
}

/// Something that another thread can make readable.
#[derive(Debug)]
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(Self)
    }

    /// Makes it readable. It may be so already.
    pub(super) fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the number outlives the call. It fails only if nobody has looked for 2^64 - 1 times.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes it unreadable.
    pub(super) fn silence(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: the number outlives the call. It fails if it is silent already.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }
}

fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
