//! Pages that come together.

use ram::{PAGE, Ram};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::DemandError;

/// Pages in a huge page of 2 MiB. One of 1 GiB would have a guest wait for all of it.
const HUGE: u64 = (2 << 20) / PAGE as u64;
/// What flags of mmap(2) have from `MAP_HUGE_SHIFT` on.
const HUGE_MASK: i32 = 0x3f;

/// How many pages of `ram` have to be put in place at once.
///
/// # Errors
/// Pages of this memory cannot come when they are touched.
pub(super) fn of(ram: &Ram) -> Result<u64, DemandError> {
    let mut all = ram.iter().map(of_region);
    let first = all.next().unwrap_or(Ok(1))?;
    if all.all(|other| other.is_ok_and(|other| other == first)) {
        Ok(first)
    } else {
        Err(DemandError::Mapping)
    }
}

fn of_region(region: &ram::RamRegion) -> Result<u64, DemandError> {
    let flags = region.flags();
    let wanted = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    if flags & wanted != wanted {
        return Err(DemandError::Mapping);
    }
    if flags & libc::MAP_HUGETLB == 0 {
        return Ok(1);
    }
    let bytes = 1u64.checked_shl((flags >> libc::MAP_HUGE_SHIFT & HUGE_MASK).unsigned_abs());
    let is_whole =
        |bytes: u64| region.start_addr().0.is_multiple_of(bytes) && region.len().is_multiple_of(bytes);
    match bytes {
        Some(bytes) if bytes == HUGE * PAGE as u64 && is_whole(bytes) => Ok(HUGE),
        _ => Err(DemandError::HugePages),
    }
}

/// How many pages of a machine's memory follow it together: one where it is in no huge pages.
#[must_use]
pub fn pages_together(ram: &Ram) -> u64 {
    of(ram).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestAddress;

    use super::*;
    use crate::sys::huge_pool::HugeMemory;

    #[test]
    fn pages_of_a_huge_page_come_together_and_others_alone() {
        let small = Ram::from_ranges(&[(GuestAddress(0), 4 * PAGE), (GuestAddress(1 << 30), PAGE)]).unwrap();
        assert_eq!(of(&small).unwrap(), 1);
        let Some(huge) = HugeMemory::new(1) else { return };
        assert_eq!(of(&huge.ram).unwrap(), 512);
    }
}
