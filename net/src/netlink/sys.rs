//! The system calls of netlink sockets and network namespaces.
#![expect(unsafe_code, reason = "libc has no safe form of sockets of this family, nor of namespaces")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// How long an answer of the kernel may take; a busy machine holds the lock on its network's configuration for seconds.
const PATIENCE_SECONDS: libc::time_t = 20;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A socket to the part of the kernel that speaks `protocol` (`NETLINK_ROUTE`, …), in the calling thread's network
/// namespace.
pub(super) fn open(protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd =
        checked(unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the descriptor is new and ours alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let patience = libc::timeval { tv_sec: PATIENCE_SECONDS, tv_usec: 0 };
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &patience)?;
    // Reasons in words: since kernel 4.12, and only for those who read them.
    let _ = set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, &1_i32);
    Ok(socket)
}

/// Makes room for a long message and its acknowledgements.
pub(super) fn set_buffers(socket: &OwnedFd, bytes: i32) {
    // Without the right to exceed the system's limit it stays at that, and a message too long for it is refused.
    for (forced, plain) in [(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF), (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)]
    {
        if set_option(socket, libc::SOL_SOCKET, forced, &bytes).is_err() {
            let _ = set_option(socket, libc::SOL_SOCKET, plain, &bytes);
        }
    }
}

fn set_option<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the option reads `len` bytes, which the value has.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), len) };
    checked(result).map(drop)
}

fn kernel() -> libc::sockaddr_nl {
    // SAFETY: an all-zero sockaddr_nl is a valid value: the kernel's.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = FAMILY;
    address
}

/// `AF_NETLINK` as addresses have it.
const FAMILY: libc::sa_family_t = 16;
/// `struct sockaddr_nl`.
const ADDRESS_LEN: libc::socklen_t = 12;
const _: () =
    assert!(size_of::<libc::sockaddr_nl>() == ADDRESS_LEN as usize && libc::AF_NETLINK == FAMILY as i32);

/// Sends one or more messages to the kernel.
pub(super) fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    let to = kernel();
    // SAFETY: buffer and address are valid for the lengths given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            (&raw const to).cast(),
            ADDRESS_LEN,
        )
    };
    match usize::try_from(sent) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Receives messages that the kernel sent together. What other processes send is passed over.
pub(super) fn receive<'b>(socket: &OwnedFd, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    loop {
        let mut from = kernel();
        let mut len = ADDRESS_LEN;
        // SAFETY: buffer and address are valid for the lengths given.
        let result = unsafe {
            libc::recvfrom(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_TRUNC,
                (&raw mut from).cast(),
                &raw mut len,
            )
        };
        let Ok(received) = usize::try_from(result) else {
            match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => continue,
                error if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                error => return Err(error),
            }
        };
        if from.nl_pid == 0 {
            return buffer.get(..received).ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }
}

/// Moves the calling thread, and no other, into a network namespace.
pub(super) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Moves the calling thread, and no other, into a new network namespace.
pub(super) fn unshare() -> io::Result<()> {
    // SAFETY: no pointers are passed.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}
