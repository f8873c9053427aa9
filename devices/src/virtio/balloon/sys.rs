//! Memory given back to the host.
#![expect(
    unsafe_code,
    reason = "madvise has no safe wrapper in our dependencies; this is where its ranges are vouched for"
)]

use std::io;

use ram::RamRegion;
use vm_memory::{GuestMemoryRegion, MemoryRegionAddress};

/// How a mapping gives memory back so that the guest finds zeroes there, and nobody else loses anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Private memory: the pages are dropped.
    Drop,
    /// Memory shared by a file without a name: holes are punched into the file.
    Punch,
    /// Not at all: pages from the pool of huge pages were reserved for this machine, and one given back might not be
    /// there any more when the guest wants it again, which would kill the guest.
    Keep,
}

/// The way for a mapping with these flags of mmap(2).
pub(super) const fn way(flags: i32) -> Way {
    if flags & libc::MAP_HUGETLB != 0 {
        Way::Keep
    } else if flags & libc::MAP_SHARED != 0 {
        Way::Punch
    } else {
        Way::Drop
    }
}

/// Gives `len` bytes of `region` from `start` back, both multiples of the host's page size; false if this kind of
/// memory is kept.
pub(super) fn release(region: &RamRegion, start: MemoryRegionAddress, len: usize) -> io::Result<bool> {
    let advice = match way(region.flags()) {
        Way::Drop => libc::MADV_DONTNEED,
        Way::Punch => libc::MADV_REMOVE,
        Way::Keep => return Ok(false),
    };
    let slice = region.get_slice(start, len).map_err(|error| io::Error::other(error.to_string()))?;
    let address = slice.ptr_guard_mut().as_ptr();
    // SAFETY: the slice is a part of the guest's RAM, mapped as long as `region` lives. Guest RAM is only ever reached
    // through raw pointers by which anything may be read at any time, so that nobody relies on what is dropped.
    match unsafe { libc::madvise(address.cast(), slice.len(), advice) } {
        0 => Ok(true),
        _ => Err(io::Error::last_os_error()),
    }
}
