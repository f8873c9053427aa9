//! Memory slots.
#![expect(unsafe_code, reason = "KVM is told addresses of this process")]

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use ram::RamRegion;
use vm_memory::{GuestMemoryRegion, MemoryRegionAddress};

use super::{KvmError, failed};

/// Gives `region` to the guest as slot number `slot`. Whether KVM notes which pages vCPUs write is `logged`, and may be changed
/// by giving the same region again.
///
/// The caller keeps `region` mapped for as long as `vm` exists; [`crate::machine::Machine`] does so by holding both.
pub fn add_slot(vm: &VmFd, slot: u32, region: &RamRegion, logged: bool) -> Result<(), KvmError> {
    let host = region
        .get_host_address(MemoryRegionAddress(0))
        .map_err(|_| KvmError::Capability("memory regions of this size"))?;
    let region = kvm_userspace_memory_region {
        slot,
        flags: if logged { KVM_MEM_LOG_DIRTY_PAGES } else { 0 },
        guest_phys_addr: region.start_addr().0,
        memory_size: region.len(),
        userspace_addr: host as u64,
    };
    // SAFETY: the range is one whole mapping of this process, and the caller keeps it mapped.
    unsafe { vm.set_user_memory_region(region) }.map_err(failed("give memory to the guest"))
}

/// Takes the marks of the pages that vCPUs have written since the last call; bit *n* of the words is page *n*'s.
pub fn take_written(vm: &VmFd, slot: u32, region: &RamRegion) -> Result<Vec<u64>, KvmError> {
    let len =
        usize::try_from(region.len()).map_err(|_| KvmError::Capability("memory regions of this size"))?;
    vm.get_dirty_log(slot, len).map_err(failed("tell which pages the guest has written"))
}
