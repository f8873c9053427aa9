//! The system calls that the standard library does not wrap.
#![expect(unsafe_code, reason = "calls into libc")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::buf::IoBuf;

/// Most buffers that one vectored call takes (`UIO_MAXIOV`).
pub(crate) const IOV_MAX: usize = 1024;

fn checked(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn succeeded(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn to_off(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn iov_count(bufs: &[IoBuf]) -> libc::c_int {
    libc::c_int::try_from(bufs.len().min(IOV_MAX)).unwrap_or(0)
}

/// Asks for huge pages where `memory`, which begins on a page boundary, has not been touched yet.
pub(crate) fn prefer_huge_pages(memory: &mut [u8]) {
    // SAFETY: the range is memory of ours, whose contents the call does not change. A host without huge pages says so,
    // and goes on with others.
    let _ = unsafe { libc::madvise(memory.as_mut_ptr().cast(), memory.len(), libc::MADV_HUGEPAGE) };
}

/// Reads at `offset` into the first [`IOV_MAX`] of `bufs`; returns the bytes read.
pub(crate) fn preadv(file: &File, bufs: &[IoBuf], offset: u64) -> io::Result<usize> {
    let offset = to_off(offset)?;
    // SAFETY: IoBuf is laid out as iovec and its memory is valid by the contract of `from_raw`.
    checked(unsafe { libc::preadv(file.as_raw_fd(), bufs.as_ptr().cast(), iov_count(bufs), offset) })
}

/// Writes the first [`IOV_MAX`] of `bufs` at `offset`; with `dsync`, durably.
pub(crate) fn pwritev(file: &File, bufs: &[IoBuf], offset: u64, dsync: bool) -> io::Result<usize> {
    let offset = to_off(offset)?;
    let flags = if dsync { libc::RWF_DSYNC } else { 0 };
    // SAFETY: as for `preadv`.
    checked(unsafe { libc::pwritev2(file.as_raw_fd(), bufs.as_ptr().cast(), iov_count(bufs), offset, flags) })
}

/// fallocate(2).
pub(crate) fn fallocate(file: &File, mode: i32, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (to_off(offset)?, to_off(len)?);
    // SAFETY: no pointers are passed.
    succeeded(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) })
}

/// The data or hole that follows `offset`: lseek(2) with `SEEK_DATA` or `SEEK_HOLE`. `None` past the last one.
pub(crate) fn seek(file: &File, offset: u64, whence: i32) -> io::Result<Option<u64>> {
    let offset = to_off(offset)?;
    // SAFETY: no pointers are passed.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
    match u64::try_from(found) {
        Ok(found) => Ok(Some(found)),
        Err(_) => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            error => Err(error),
        },
    }
}

// linux/fs.h; _IO and _IOR encode them the same on every architecture we build for.
const BLKROGET: libc::c_ulong = 0x125e;
const BLKSSZGET: libc::c_ulong = 0x1268;
const BLKPBSZGET: libc::c_ulong = 0x127b;
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
const BLKDISCARD: libc::c_ulong = 0x1277;
const BLKZEROOUT: libc::c_ulong = 0x127f;

/// What a block device says of itself.
pub(crate) struct DeviceGeometry {
    pub(crate) size: u64,
    pub(crate) logical: u32,
    pub(crate) physical: u32,
    pub(crate) read_only: bool,
}

/// Asks a block device for its geometry.
pub(crate) fn device_geometry(device: &File) -> io::Result<DeviceGeometry> {
    let fd = device.as_raw_fd();
    let (mut size, mut logical, mut physical, mut read_only) = (0u64, 0i32, 0u32, 0i32);
    // SAFETY: each request writes one value of the type that its pointer has.
    unsafe {
        succeeded(libc::ioctl(fd, BLKGETSIZE64, &raw mut size))?;
        succeeded(libc::ioctl(fd, BLKSSZGET, &raw mut logical))?;
        succeeded(libc::ioctl(fd, BLKPBSZGET, &raw mut physical))?;
        succeeded(libc::ioctl(fd, BLKROGET, &raw mut read_only))?;
    }
    Ok(DeviceGeometry {
        size,
        logical: u32::try_from(logical).unwrap_or(0),
        physical,
        read_only: read_only != 0,
    })
}

/// Discards a range of a block device.
pub(crate) fn device_discard(device: &File, offset: u64, len: u64) -> io::Result<()> {
    device_range(device, BLKDISCARD, offset, len)
}

/// Zeroes a range of a block device, by whatever means it has.
pub(crate) fn device_zero(device: &File, offset: u64, len: u64) -> io::Result<()> {
    device_range(device, BLKZEROOUT, offset, len)
}

fn device_range(device: &File, request: libc::c_ulong, offset: u64, len: u64) -> io::Result<()> {
    let range = [offset, len];
    // SAFETY: both requests read two u64.
    succeeded(unsafe { libc::ioctl(device.as_raw_fd(), request, range.as_ptr()) })
}

/// How an open file description holds a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockKind {
    Shared,
    Exclusive,
}

/// Takes an open-file-description lock on the whole file, without waiting. `false`: someone else holds it.
pub(crate) fn try_lock(file: &File, kind: LockKind) -> io::Result<bool> {
    let kind = match kind {
        LockKind::Shared => libc::F_RDLCK,
        LockKind::Exclusive => libc::F_WRLCK,
    };
    match set_lock(file, kind) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives such a lock up.
pub(crate) fn unlock(file: &File) -> io::Result<()> {
    set_lock(file, libc::F_UNLCK)
}

fn set_lock(file: &File, kind: libc::c_int) -> io::Result<()> {
    lock_call(file, libc::F_OFD_SETLK, &mut lock_of(kind, 0, 0))
}

/// Makes the lock on one byte of a file that is locked exclusively shared or exclusive.
pub(crate) fn lock_byte(file: &File, kind: LockKind, at: u64) -> io::Result<()> {
    let kind = match kind {
        LockKind::Shared => libc::F_RDLCK,
        LockKind::Exclusive => libc::F_WRLCK,
    };
    lock_call(file, libc::F_OFD_SETLK, &mut lock_of(kind, to_off(at)?, 1))
}

/// Whether another open file description keeps one byte of a file from being locked shared.
pub(crate) fn is_byte_locked(file: &File, at: u64) -> io::Result<bool> {
    let mut lock = lock_of(libc::F_RDLCK, to_off(at)?, 1);
    lock_call(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// A lock on `len` bytes from `start` on; 0 for all to the end.
fn lock_of(kind: libc::c_int, start: libc::off_t, len: libc::off_t) -> libc::flock {
    // SAFETY: an all-zero flock is a valid value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).unwrap_or_default();
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default();
    (lock.l_start, lock.l_len) = (start, len);
    lock
}

fn lock_call(file: &File, call: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the pointer is to a flock, which the kernel reads, and writes for `F_OFD_GETLK`.
    succeeded(unsafe { libc::fcntl(file.as_raw_fd(), call, &raw mut *lock) })
}

/// An eventfd, non-blocking.
pub(crate) fn eventfd() -> io::Result<File> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    succeeded(fd)?;
    // SAFETY: the descriptor is new and ours alone.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// What direct I/O on a file demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectAlign {
    /// Of addresses in memory.
    pub(crate) memory: u32,
    /// Of offsets and lengths.
    pub(crate) offset: u32,
}

/// Asks the kernel (6.1 and later) what direct I/O on the file demands.
pub(crate) fn direct_align(file: &File) -> Option<DirectAlign> {
    // SAFETY: an all-zero statx is a valid value.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a valid C string, `stat` is writable.
    succeeded(unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, &raw mut stat)
    })
    .ok()?;
    let align = DirectAlign { memory: stat.stx_dio_mem_align, offset: stat.stx_dio_offset_align };
    let known = stat.stx_mask & libc::STATX_DIOALIGN != 0;
    (known && align.memory.is_power_of_two() && align.offset.is_power_of_two()).then_some(align)
}
