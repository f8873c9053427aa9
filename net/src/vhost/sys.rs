//! The system calls of vhost (linux/vhost.h, linux/vhost_types.h).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::AtomicU64;

use super::{Layout, Region, Signals};

pub(super) const DEVICE: &str = "/dev/vhost-net";

// _IO, _IOR, _IOW and _IOWR of type 0xaf, as every architecture that we build for encodes them.
const VHOST_GET_FEATURES: libc::Ioctl = 0x8008_af00;
const VHOST_SET_FEATURES: libc::Ioctl = 0x4008_af00;
const VHOST_SET_OWNER: libc::Ioctl = 0xaf01;
const VHOST_SET_MEM_TABLE: libc::Ioctl = 0x4008_af03;
const VHOST_SET_LOG_BASE: libc::Ioctl = 0x4008_af04;
const VHOST_SET_VRING_NUM: libc::Ioctl = 0x4008_af10;
const VHOST_SET_VRING_ADDR: libc::Ioctl = 0x4028_af11;
const VHOST_SET_VRING_BASE: libc::Ioctl = 0x4008_af12;
const VHOST_GET_VRING_BASE: libc::Ioctl = 0xc008_af12;
const VHOST_SET_VRING_KICK: libc::Ioctl = 0x4008_af20;
const VHOST_SET_VRING_CALL: libc::Ioctl = 0x4008_af21;
const VHOST_NET_SET_BACKEND: libc::Ioctl = 0x4008_af30;

/// Flag of `struct vhost_vring_addr`: writes to the used ring are noted, at `log` (`VHOST_VRING_F_LOG`, a number of a bit).
const LOG_USED: u32 = 1 << 0;

/// `struct vhost_vring_state`, which `struct vhost_vring_file` is laid out as.
#[repr(C)]
struct State {
    index: u32,
    value: i32,
}

/// `struct vhost_vring_addr`.
#[repr(C)]
struct Addresses {
    index: u32,
    flags: u32,
    descriptors: u64,
    used: u64,
    available: u64,
    log: u64,
}

/// Makes a call whose argument is a pointer to `argument`.
fn call<T>(file: &File, request: libc::Ioctl, argument: *mut T) -> io::Result<()> {
    // SAFETY: the callers pass what `request` reads or writes.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn call_state(file: &File, request: libc::Ioctl, index: u32, value: i32) -> io::Result<i32> {
    let mut state = State { index, value };
    call(file, request, &raw mut state)?;
    Ok(state.value)
}

pub(super) fn set_owner(file: &File) -> io::Result<()> {
    call::<u8>(file, VHOST_SET_OWNER, std::ptr::null_mut())
}

pub(super) fn features(file: &File) -> io::Result<u64> {
    let mut features = 0u64;
    call(file, VHOST_GET_FEATURES, &raw mut features)?;
    Ok(features)
}

pub(super) fn set_features(file: &File, mut features: u64) -> io::Result<()> {
    call(file, VHOST_SET_FEATURES, &raw mut features)
}

pub(super) fn set_memory(file: &File, regions: &[Region]) -> io::Result<()> {
    // `struct vhost_memory`: number and padding, then regions of address, size, address in the process and flags.
    let count = u64::try_from(regions.len()).map_err(io::Error::other)?;
    let fields = regions.iter().flat_map(|region| [region.guest, region.len, region.host, 0]);
    let mut table: Vec<u64> = std::iter::once(count).chain(fields).collect();
    call(file, VHOST_SET_MEM_TABLE, table.as_mut_ptr())
}

/// # Safety
/// `log` must live until the kernel notes nothing in it any more.
pub(super) unsafe fn set_log(file: &File, log: &[AtomicU64]) -> io::Result<()> {
    let mut address = u64::try_from(log.as_ptr().addr()).map_err(io::Error::other)?;
    call(file, VHOST_SET_LOG_BASE, &raw mut address)
}

pub(super) fn set_queue(file: &File, index: u32, layout: &Layout, logged: bool) -> io::Result<()> {
    call_state(file, VHOST_SET_VRING_NUM, index, i32::from(layout.size))?;
    call_state(file, VHOST_SET_VRING_BASE, index, i32::from(layout.next))?;
    set_rings(file, index, layout, logged)
}

pub(super) fn set_rings(file: &File, index: u32, layout: &Layout, logged: bool) -> io::Result<()> {
    let Layout { descriptors, used, available, used_guest: log, .. } = *layout;
    let flags = if logged { LOG_USED } else { 0 };
    let mut addresses = Addresses { index, flags, descriptors, used, available, log };
    call(file, VHOST_SET_VRING_ADDR, &raw mut addresses)
}

pub(super) fn set_signals(file: &File, index: u32, signals: &Signals<'_>) -> io::Result<()> {
    call_state(file, VHOST_SET_VRING_KICK, index, signals.kick.as_raw_fd())?;
    set_call(file, index, signals.call)
}

pub(super) fn set_call(file: &File, index: u32, call: BorrowedFd<'_>) -> io::Result<()> {
    call_state(file, VHOST_SET_VRING_CALL, index, call.as_raw_fd()).map(drop)
}

pub(super) fn set_backend(file: &File, index: u32, tap: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let fd = tap.map_or(-1, |tap| tap.as_raw_fd());
    call_state(file, VHOST_NET_SET_BACKEND, index, fd).map(drop)
}

pub(super) fn next(file: &File, index: u32) -> io::Result<u16> {
    let value = call_state(file, VHOST_GET_VRING_BASE, index, 0)?;
    u16::try_from(value & 0xffff).map_err(io::Error::other)
}
