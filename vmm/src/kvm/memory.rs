//! Memory slots.
#![expect(unsafe_code, reason = "KVM is told addresses of this process")]

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress};

use super::{KvmError, failed};

/// Gives `region` to the guest as slot number `slot`.
///
/// The caller keeps `region` mapped for as long as `vm` exists; [`crate::machine::Machine`] does so by holding both.
pub fn add_slot(vm: &VmFd, slot: u32, region: &GuestRegionMmap) -> Result<(), KvmError> {
    let host = region
        .get_host_address(MemoryRegionAddress(0))
        .map_err(|_| KvmError::Capability("memory regions of this size"))?;
    let region = kvm_userspace_memory_region {
        slot,
        flags: 0,
        guest_phys_addr: region.start_addr().0,
        memory_size: region.len(),
        userspace_addr: host as u64,
    };
    // SAFETY: the range is one whole mapping of this process, and the caller keeps it mapped.
    unsafe { vm.set_user_memory_region(region) }.map_err(failed("give memory to the guest"))
}
