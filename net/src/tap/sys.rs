//! The system calls of taps.
#![expect(unsafe_code, reason = "taps are driven by ioctls, which libc has no safe form of")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::IoBuf;

// linux/if_tun.h, as _IOW('T', n, int) and _IOR('T', n, unsigned int) encode them on every architecture we build for.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const TUNSETOFFLOAD: libc::Ioctl = 0x4004_54d0;
const TUNGETIFF: libc::Ioctl = 0x8004_54d2;
const TUNSETVNETHDRSZ: libc::Ioctl = 0x4004_54d8;
const TUNSETQUEUE: libc::Ioctl = 0x4004_54d9;
const TUNSETVNETLE: libc::Ioctl = 0x4004_54dc;

/// linux/ethtool.h: `struct ethtool_drvinfo` follows its command.
const ETHTOOL_GDRVINFO: u32 = 3;
const DRVINFO_LEN: usize = 196;

/// Frames with an Ethernet header, without tun's own packet information, behind a virtio header.
pub(super) const TAP_FLAGS: i32 = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
/// One open file per queue.
pub(super) const MULTI_QUEUE: i32 = libc::IFF_MULTI_QUEUE;
/// The interface must not exist yet: `IFF_TUN_EXCL`.
pub(super) const EXCLUSIVE: i32 = libc::IFF_TUN_EXCL;

/// An interface name that fits the kernel's `ifreq`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Name([libc::c_char; libc::IFNAMSIZ]);

impl Name {
    /// `None` if the kernel could not have an interface of this name.
    pub(super) fn new(name: &str) -> Option<Self> {
        let bytes = name.as_bytes();
        let mut all = [0; libc::IFNAMSIZ];
        if bytes.is_empty() || bytes.len() >= all.len() || bytes.iter().any(|b| matches!(b, 0 | b'/')) {
            return None;
        }
        for (to, from) in all.iter_mut().zip(bytes) {
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        Some(Self(all))
    }

    fn from_request(request: &libc::ifreq) -> String {
        let bytes = request.ifr_name.iter().map(|c| c.to_ne_bytes()[0]).take_while(|b| *b != 0);
        String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: an all-zero ifreq is a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_name = self.0;
        request
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Index of an interface in the calling thread's network namespace.
pub(super) fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a valid C string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// Attaches an open `/dev/net/tun` to an interface, or tells a macvtap's file its mode.
pub(super) fn attach(file: &File, name: &Name, flags: i32) -> io::Result<()> {
    let mut request = name.request();
    // All of them are among the lower 16 bits.
    request.ifr_ifru.ifru_flags = u16::try_from(flags).map_err(io::Error::other)?.cast_signed();
    // SAFETY: the request reads and writes an ifreq.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) })
}

/// Name and flags of the interface that a file is attached to.
pub(super) fn attached(file: &File) -> io::Result<(String, i32)> {
    // SAFETY: an all-zero ifreq is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes an ifreq.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNGETIFF, &raw mut request) })?;
    // SAFETY: the kernel wrote the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((Name::from_request(&request), i32::from(flags)))
}

fn set_int(file: &File, request: libc::Ioctl, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the requests this is called with read an int.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), request, &raw const value) })
}

/// Sets how many bytes the header in front of each frame has.
pub(super) fn set_header_len(file: &File, len: u32) -> io::Result<()> {
    set_int(file, TUNSETVNETHDRSZ, libc::c_int::try_from(len).map_err(io::Error::other)?)
}

/// Headers are little-endian, as virtio 1 has them, whatever the host is.
pub(super) fn set_little_endian(file: &File) -> io::Result<()> {
    set_int(file, TUNSETVNETLE, 1)
}

/// Sets which unfinished frames the interface may deliver.
pub(super) fn set_offloads(file: &File, bits: u32) -> io::Result<()> {
    // SAFETY: the request takes its argument by value.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD, libc::c_ulong::from(bits)) })
}

/// Lets a queue of a multi-queue interface take part, or not.
pub(super) fn set_queue(file: &File, active: bool) -> io::Result<()> {
    // SAFETY: an all-zero ifreq is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let flag = if active { libc::IFF_ATTACH_QUEUE } else { libc::IFF_DETACH_QUEUE };
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flag).map_err(io::Error::other)?;
    // SAFETY: the request reads an ifreq.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETQUEUE, &raw const request) })
}

/// A socket to ask about interfaces.
fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    checked(fd)?;
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Longest payload of an interface's frames.
pub(super) fn mtu(name: &Name) -> io::Result<i32> {
    let mut request = name.request();
    // SAFETY: the request reads and writes an ifreq.
    checked(unsafe { libc::ioctl(control_socket()?.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) })?;
    // SAFETY: the kernel wrote the MTU.
    Ok(unsafe { request.ifr_ifru.ifru_mtu })
}

/// Name of the driver behind an interface: "tun", "macvlan", …
pub(super) fn driver(name: &Name) -> io::Result<String> {
    let mut info = [0u8; DRVINFO_LEN];
    info[..4].copy_from_slice(&ETHTOOL_GDRVINFO.to_ne_bytes());
    let mut request = name.request();
    request.ifr_ifru.ifru_data = info.as_mut_ptr().cast();
    // SAFETY: the request reads an ifreq whose data points to a buffer of the size that this command writes.
    checked(unsafe { libc::ioctl(control_socket()?.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })?;
    let name = info.iter().skip(4).take(32).copied().take_while(|b| *b != 0).collect::<Vec<_>>();
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// Address of an interface.
pub(super) fn mac(name: &Name) -> io::Result<[u8; 6]> {
    let mut request = name.request();
    // SAFETY: the request reads and writes an ifreq.
    checked(unsafe { libc::ioctl(control_socket()?.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) })?;
    Ok(address_of(&request))
}

/// Address of the interface that a file is attached to.
pub(super) fn mac_of_file(file: &File) -> io::Result<[u8; 6]> {
    // SAFETY: an all-zero ifreq is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes an ifreq.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) })?;
    Ok(address_of(&request))
}

fn address_of(request: &libc::ifreq) -> [u8; 6] {
    // SAFETY: the kernel wrote the address.
    let [a, b, c, d, e, f, ..] =
        unsafe { request.ifr_ifru.ifru_hwaddr.sa_data }.map(libc::c_char::cast_unsigned);
    [a, b, c, d, e, f]
}

/// Makes a character device's node that only this user may open.
pub(super) fn make_node(path: &Path, number: libc::dev_t) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: the path is a valid C string.
    checked(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, number) })
}

/// `fsconfig`'s command to make a file system, linux/mount.h.
const FSCONFIG_CMD_CREATE: libc::c_long = 6;
const FSOPEN_CLOEXEC: libc::c_long = 1;
const FSMOUNT_CLOEXEC: libc::c_long = 1;

/// The sysfs of the calling thread's network namespace, which is seen nowhere else and goes when it is closed.
pub(super) fn own_sysfs() -> io::Result<OwnedFd> {
    // SAFETY: the name is a valid C string.
    let context = new_file(unsafe { libc::syscall(libc::SYS_fsopen, c"sysfs".as_ptr(), FSOPEN_CLOEXEC) })?;
    let nothing = std::ptr::null::<libc::c_char>();
    let fd = context.as_raw_fd();
    // SAFETY: this command takes no key and no value.
    let made = unsafe { libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, nothing, nothing, 0) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: no pointers are passed.
    new_file(unsafe { libc::syscall(libc::SYS_fsmount, fd, FSMOUNT_CLOEXEC, 0) })
}

fn new_file(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = libc::c_int::try_from(result).map_err(io::Error::other)?;
    checked(fd)?;
    // SAFETY: the descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes reads and writes return instead of waiting.
pub(super) fn set_nonblocking(file: &File) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    checked(flags)?;
    // SAFETY: no pointers are passed.
    checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })
}

fn moved(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn count(bufs: &[IoBuf]) -> libc::c_int {
    // More than the kernel takes is refused by the kernel.
    libc::c_int::try_from(bufs.len()).unwrap_or(libc::c_int::MAX)
}

/// Reads one frame.
pub(super) fn read(fd: BorrowedFd<'_>, bufs: &[IoBuf]) -> io::Result<usize> {
    // SAFETY: an IoBuf is laid out as an iovec and its maker vouched for the memory.
    moved(unsafe { libc::readv(fd.as_raw_fd(), bufs.as_ptr().cast(), count(bufs)) })
}

/// Writes one frame.
pub(super) fn write(fd: BorrowedFd<'_>, bufs: &[IoBuf]) -> io::Result<usize> {
    // SAFETY: as in `read`.
    moved(unsafe { libc::writev(fd.as_raw_fd(), bufs.as_ptr().cast(), count(bufs)) })
}
