//! Hints about guest memory, and files in memory.
#![expect(
    unsafe_code,
    reason = "madvise, memfd_create and membarrier have no safe wrapper in our dependencies"
)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

use ram::{Ram, RamRegion};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

/// Asks for transparent huge pages behind `region`. A host without them says no, which costs speed only.
pub fn prefer_huge_pages(region: &RamRegion) {
    let (Ok(host), Ok(len)) =
        (region.get_host_address(MemoryRegionAddress(0)), usize::try_from(region.len()))
    else {
        return;
    };
    // SAFETY: the range is one whole mapping that `region` owns; MADV_HUGEPAGE changes no contents.
    let _ = unsafe { libc::madvise(host.cast(), len, libc::MADV_HUGEPAGE) };
}

/// Keeps guest memory out of core dumps of this process.
pub fn keep_out_of_core_dumps(region: &RamRegion) {
    let (Ok(host), Ok(len)) =
        (region.get_host_address(MemoryRegionAddress(0)), usize::try_from(region.len()))
    else {
        return;
    };
    // SAFETY: the range is one whole mapping that `region` owns; MADV_DONTDUMP changes no contents.
    let _ = unsafe { libc::madvise(host.cast(), len, libc::MADV_DONTDUMP) };
}

/// A file without a name that lives in memory until it is closed.
pub fn memory_file(name: &CStr) -> io::Result<File> {
    // SAFETY: `name` is a valid C string for the length of the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so `fd` is open and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Has every thread of this process pass a full memory barrier (membarrier(2)).
pub fn pass_barrier() -> io::Result<()> {
    /// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED`, then `MEMBARRIER_CMD_PRIVATE_EXPEDITED`.
    const COMMANDS: [libc::c_int; 2] = [1 << 4, 1 << 3];
    for command in COMMANDS {
        // SAFETY: no pointers are passed.
        if unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Has `bytes` of `ram` from `start` read as zeroes: mappings of private memory drop their pages, others are written to.
pub fn discard(ram: &Ram, start: GuestAddress, bytes: u64) -> io::Result<()> {
    let len = usize::try_from(bytes).map_err(io::Error::other)?;
    for slice in ram.get_slices(start, len) {
        let slice = slice.map_err(io::Error::other)?;
        let at = slice.ptr_guard_mut().as_ptr();
        // SAFETY: the slice is a part of guest memory, which is reached through raw pointers alone, so that nobody relies on
        // what is dropped. A page from a pool of huge pages cannot be dropped in part: then the call fails.
        let dropped = unsafe { libc::madvise(at.cast(), slice.len(), libc::MADV_DONTNEED) } == 0;
        if !dropped || !is_private(ram, start) {
            let zeroes = [0u8; 4096];
            for offset in (0..slice.len()).step_by(zeroes.len()) {
                let piece = slice.offset(offset).map_err(io::Error::other)?;
                piece.copy_from(zeroes.get(..piece.len().min(zeroes.len())).unwrap_or_default());
            }
        }
    }
    Ok(())
}

/// Whether dropped pages read as zeroes.
fn is_private(ram: &Ram, start: GuestAddress) -> bool {
    let flags = ram.find_region(start).map(|region| region.flags());
    flags.is_some_and(|flags| flags & libc::MAP_ANONYMOUS != 0 && flags & libc::MAP_PRIVATE != 0)
}
