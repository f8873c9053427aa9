//! Guest RAM: mappings of this process that KVM shows to the guest.

use std::io;
use std::sync::Arc;

use devices::GuestRam;
use kvm_ioctls::VmFd;
use vm_memory::mmap::MmapRegion;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap};

use super::BuildError;
use crate::kvm::add_slot;
use crate::plan::{Backing, MemoryPlan};
use crate::sys::memory::{keep_out_of_core_dumps, prefer_huge_pages};

/// Maps the memory of `plan`.
pub(super) fn map(plan: &MemoryPlan) -> Result<GuestRam, BuildError> {
    let regions = plan.ram.regions().map(|region| map_region(region.start, region.size, plan.backing));
    let regions = regions.collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(GuestMemoryMmap::from_regions(regions).map_err(BuildError::MemoryLayout)?))
}

/// Gives `ram` to the guest.
pub(super) fn show(vm: &VmFd, ram: &GuestRam) -> Result<(), BuildError> {
    for (slot, region) in (0..).zip(ram.iter()) {
        add_slot(vm, slot, region)?;
    }
    Ok(())
}

fn map_region(start: u64, bytes: u64, backing: Backing) -> Result<GuestRegionMmap, BuildError> {
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
    let region = MmapRegion::build(None, size, libc::PROT_READ | libc::PROT_WRITE, flags)
        .map_err(|error| fail(mmap_error(error)))?;
    let region = GuestRegionMmap::new(region, GuestAddress(start)).ok_or_else(too_big)?;
    if backing == Backing::Anonymous {
        prefer_huge_pages(&region);
    }
    keep_out_of_core_dumps(&region);
    Ok(region)
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
