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
    let _ = advise(region, libc::MADV_HUGEPAGE);
}

/// Does something while the host puts no huge pages behind `ram`: where only some pages of one are there, it would fill in zeroes. Memory
/// that may not have any before may have them afterwards.
///
/// # Errors
/// As of `work`, or as madvise(2).
pub fn without_huge_pages<T, E: From<io::Error>>(
    ram: &Ram,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let refuse = |region| match advise(region, libc::MADV_NOHUGEPAGE) {
        // A host that knows of none.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        done => done,
    };
    let refused = ram.iter().try_for_each(refuse).map_err(E::from);
    let done = refused.and_then(|()| work());
    ram.iter().for_each(prefer_huge_pages);
    done
}

fn advise(region: &RamRegion, advice: libc::c_int) -> io::Result<()> {
    let host = region.get_host_address(MemoryRegionAddress(0)).map_err(io::Error::other)?;
    let len = usize::try_from(region.len()).map_err(io::Error::other)?;
    // SAFETY: the range is one whole mapping that `region` owns; what is advised here changes no contents.
    match unsafe { libc::madvise(host.cast(), len, advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Keeps guest memory out of core dumps of this process.
pub fn keep_out_of_core_dumps(region: &RamRegion) {
    let _ = advise(region, libc::MADV_DONTDUMP);
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

/// Has `bytes` of `ram` from `start` read as zeroes: mappings of private memory drop their pages, others and those of huge pages are
/// written to.
pub fn discard(ram: &Ram, start: GuestAddress, bytes: u64) -> io::Result<()> {
    let len = usize::try_from(bytes).map_err(io::Error::other)?;
    for slice in ram.get_slices(start, len) {
        let slice = slice.map_err(io::Error::other)?;
        let at = slice.ptr_guard_mut().as_ptr();
        // A page from a pool of huge pages cannot be dropped in part, and the kernel does not always say so: it leaves what is behind
        // the last whole one as it is.
        let dropped = ram.find_region(start).is_some_and(drops_in_part)
            // SAFETY: the slice is a part of guest memory, which is reached through raw pointers alone, so that nobody relies on
            // what is dropped.
            && unsafe { libc::madvise(at.cast(), slice.len(), libc::MADV_DONTNEED) } == 0;
        if !dropped {
            let zeroes = [0u8; 4096];
            for offset in (0..slice.len()).step_by(zeroes.len()) {
                let piece = slice.offset(offset).map_err(io::Error::other)?;
                piece.copy_from(zeroes.get(..piece.len().min(zeroes.len())).unwrap_or_default());
            }
        }
    }
    Ok(())
}

/// Drops whole huge pages of the host's pool, as which `ram` is mapped: they read as zeroes, or are missed. `bytes` from `start` on are
/// multiples of one.
///
/// # Errors
/// As madvise(2): kernels before 5.18 cannot.
pub fn drop_huge_pages(ram: &Ram, start: GuestAddress, bytes: u64) -> io::Result<()> {
    let len = usize::try_from(bytes).map_err(io::Error::other)?;
    for slice in ram.get_slices(start, len) {
        let slice = slice.map_err(io::Error::other)?;
        let at = slice.ptr_guard_mut().as_ptr();
        // SAFETY: as in `discard`.
        if unsafe { libc::madvise(at.cast(), slice.len(), libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether each page of `region` can be dropped or be there by itself, and reads as zeroes where it is not.
pub fn drops_in_part(region: &RamRegion) -> bool {
    drops_to_zero(region) && region.flags() & libc::MAP_HUGETLB == 0
}

/// Whether pages of `region` that were dropped, or never touched, read as zeroes.
fn drops_to_zero(region: &RamRegion) -> bool {
    let wanted = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE;
    region.flags() & wanted == wanted
}

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::*;
    use crate::sys::huge_pool::{HUGE, HugeMemory, skipped};

    #[test]
    fn a_part_of_a_huge_page_reads_as_zeroes_and_the_rest_as_before() {
        let Some(memory) = HugeMemory::new(2) else { return };
        let size = |bytes: u64| usize::try_from(bytes).unwrap();
        let full = vec![7; size(2 * HUGE)];
        for (start, bytes) in
            [(0, 0x1000), (0x3000, 0x2000), (0, HUGE + 0x1000), (HUGE, HUGE), (HUGE - 0x1000, 0x2000)]
        {
            memory.ram.write_slice(&full, GuestAddress(0)).unwrap();
            discard(&memory.ram, GuestAddress(start), bytes).unwrap();
            let mut found = full.clone();
            memory.ram.read_slice(&mut found, GuestAddress(0)).unwrap();
            let zero = size(start)..size(start + bytes);
            let is_right = |(at, byte): (usize, &u8)| *byte == if zero.contains(&at) { 0 } else { 7 };
            assert!(found.iter().enumerate().all(is_right), "{bytes:#x} bytes from {start:#x} on");
        }
    }

    /// What the kernel says of the mapping that `ram` begins with.
    fn flags(ram: &Ram) -> String {
        let host = ram.get_host_address(GuestAddress(0)).unwrap() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_it = false;
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            if let Some((Some(from), Some(to))) = range.map(|(from, to)| (number(from), number(to))) {
                is_it = (from..to).contains(&host);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| is_it) {
                return format!("{flags} ");
            }
        }
        panic!("there is no such mapping");
    }

    #[test]
    fn there_are_no_huge_pages_while_there_are_to_be_none() {
        let ram = Ram::from_ranges(&[(GuestAddress(0), 8 << 20)]).unwrap();
        ram.iter().for_each(prefer_huge_pages);
        if !flags(&ram).contains(" hg ") {
            return skipped(&"this host has no transparent huge pages");
        }
        let within = without_huge_pages(&ram, || Ok::<_, io::Error>(flags(&ram))).unwrap();
        assert!(within.contains(" nh ") && !within.contains(" hg "), "{within}");
        assert!(flags(&ram).contains(" hg "));
        let failed = without_huge_pages(&ram, || Err::<(), _>(io::Error::other("it failed")));
        assert!(failed.is_err() && flags(&ram).contains(" hg "));
    }
}
