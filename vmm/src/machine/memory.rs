//! Guest RAM: mappings of this process that KVM shows to the guest.

use std::fs::File;
use std::io;
use std::sync::Arc;

use devices::GuestRam;
use devices::platform::vmclock::{self, VmClock};
use kvm_ioctls::VmFd;
use ram::{Ram, RamRegion};
use vm_memory::mmap::MmapRegion;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend};

use super::BuildError;
use crate::kvm::add_slot;
use crate::plan::{Backing, MemoryPlan};
use crate::sys::memory::{keep_out_of_core_dumps, prefer_huge_pages};

/// A transparent huge page of x86_64.
const HUGE_PAGE: usize = 2 << 20;

/// Maps the memory of `plan`; it reads as zeroes.
///
/// # Errors
/// The host has not so much, or not of that kind.
pub fn map(plan: &MemoryPlan) -> Result<GuestRam, BuildError> {
    let regions = plan.ram.regions().map(|region| map_region(region.start, region.size, plan.backing));
    let regions = regions.collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Ram::from_regions(regions).map_err(BuildError::MemoryLayout)?))
}

/// Maps the memory of `plan`, with what is in `file`: one region behind the other. What the guest writes stays in this
/// process, and what it never touches is never read.
///
/// # Errors
/// The host cannot map it.
pub fn map_file(plan: &MemoryPlan, file: &File) -> Result<GuestRam, BuildError> {
    let mut offset = 0;
    let regions = plan.ram.regions().map(|region| {
        let fail = |source| BuildError::Memory { bytes: region.size, hint: String::new(), source };
        let too_big = || fail(io::ErrorKind::InvalidInput.into());
        let size = usize::try_from(region.size).map_err(|_| too_big())?;
        let part = FileOffset::new(file.try_clone().map_err(fail)?, offset);
        offset += region.size;
        let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE;
        let mapping = MmapRegion::build(Some(part), size, libc::PROT_READ | libc::PROT_WRITE, flags);
        let mapping = mapping.map_err(|error| fail(mmap_error(error)))?;
        let region = RamRegion::new(mapping, GuestAddress(region.start)).ok_or_else(too_big)?;
        keep_out_of_core_dumps(&region);
        Ok(region)
    });
    let regions = regions.collect::<Result<Vec<_>, BuildError>>()?;
    Ok(Arc::new(Ram::from_regions(regions).map_err(BuildError::MemoryLayout)?))
}

/// Gives `ram` to the guest.
pub(super) fn show(vm: &VmFd, ram: &GuestRam) -> Result<(), BuildError> {
    for (slot, region) in (0..).zip(ram.iter()) {
        add_slot(vm, slot, region, false)?;
    }
    Ok(())
}

/// Shows the guest the page of its clock, in a slot behind those of `ram`.
pub(super) fn show_clock(vm: &VmFd, ram: &GuestRam) -> Result<VmClock, BuildError> {
    let region = map_region(vmclock::BASE, vmclock::SIZE, Backing::Anonymous)?;
    let page = Arc::new(Ram::from_regions(vec![region]).map_err(BuildError::MemoryLayout)?);
    let slot = u32::try_from(ram.num_regions()).unwrap_or(u32::MAX);
    page.iter().try_for_each(|region| add_slot(vm, slot, region, false))?;
    let fail =
        |error| BuildError::Device { what: "the clock's page".into(), source: io::Error::other(error) };
    VmClock::new(page).map_err(fail)
}

fn map_region(start: u64, bytes: u64, backing: Backing) -> Result<RamRegion, BuildError> {
    let fail = |source| BuildError::Memory { bytes, hint: hint(backing), source };
    let too_big = || fail(io::ErrorKind::InvalidInput.into());
    let size = usize::try_from(bytes).map_err(|_| too_big())?;
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let flags = match backing {
        Backing::Anonymous => private | libc::MAP_NORESERVE,
        // Reserved at once: a pool that runs dry later would kill the guest.
        Backing::HugePages { page_size } => {
            let shift = i32::try_from(page_size.trailing_zeros()).unwrap_or_default();
            private | libc::MAP_HUGETLB | shift << libc::MAP_HUGE_SHIFT
        }
    };
    let padding = if backing == Backing::Anonymous { padding(size) } else { None };
    let region = MmapRegion::build(None, size, libc::PROT_READ | libc::PROT_WRITE, flags)
        .map_err(|error| fail(mmap_error(error)))?;
    drop(padding);
    let region = RamRegion::new(region, GuestAddress(start)).ok_or_else(too_big)?;
    if backing == Backing::Anonymous {
        prefer_huge_pages(&region);
    }
    keep_out_of_core_dumps(&region);
    Ok(region)
}

/// A mapping that takes up just so much address space that the next one of `size` bytes begins on a boundary of
/// [`HUGE_PAGE`]: the host places mappings one below the other. Guest memory needs this for huge pages on both sides; if
/// another thread gets in between, only speed is lost.
fn padding(size: usize) -> Option<MmapRegion> {
    let reserve = |size| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        MmapRegion::build(None, size, libc::PROT_NONE, flags).ok()
    };
    let room = size.checked_add(HUGE_PAGE)?;
    let end = reserve(room)?.as_ptr() as usize + room;
    match (end - size) % HUGE_PAGE {
        0 => None,
        excess => reserve(excess),
    }
}

fn mmap_error(error: vm_memory::mmap::MmapRegionError) -> io::Error {
    match error {
        vm_memory::mmap::MmapRegionError::Mmap(error) => error,
        other => io::Error::other(other),
    }
}

fn hint(backing: Backing) -> String {
    match backing {
        Backing::Anonymous => String::new(),
        Backing::HugePages { page_size } => {
            let kib = page_size >> 10;
            format!(
                ": raise the host's pool of huge pages in /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use arch::layout::RamLayout;

    use super::*;

    #[test]
    fn memory_begins_where_huge_pages_do() {
        let plan = MemoryPlan { ram: RamLayout::new(64 << 20).unwrap(), backing: Backing::Anonymous };
        // Another test's thread may get in between, but not every time.
        let aligned = (0..20).any(|_| {
            let ram = map(&plan).unwrap();
            (ram.get_host_address(GuestAddress(0)).unwrap() as usize).is_multiple_of(HUGE_PAGE)
        });
        assert!(aligned);
    }

    #[test]
    fn memory_that_cannot_be_had_says_what_to_do() {
        let ram = RamLayout::new(32 << 40).unwrap();
        let error = map(&MemoryPlan { ram, backing: Backing::HugePages { page_size: 1 << 30 } }).unwrap_err();
        assert!(error.to_string().contains("nr_hugepages"), "{error}");
    }
}
