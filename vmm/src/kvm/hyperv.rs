//! Hyper-V's interface, as far as KVM carries it out.
#![expect(unsafe_code, reason = "KVM_GET_SUPPORTED_HV_CPUID has no wrapper in our dependencies")]

use kvm_bindings::{
    CpuId, KVM_CAP_HYPERV_SYNIC2, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2, kvm_cpuid2, kvm_enable_cap,
};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::ioctl::ioctl_with_mut_ptr;

use super::{Hypervisor, KvmError, failed};

/// `KVM_GET_SUPPORTED_HV_CPUID` (Linux: include/uapi/linux/kvm.h).
const SUPPORTED_NUMBER: u32 = 0xc1;

vmm_sys_util::ioctl_iowr_nr!(KVM_GET_SUPPORTED_HV_CPUID, kvm_bindings::KVMIO, SUPPORTED_NUMBER, kvm_cpuid2);

impl Hypervisor {
    /// Leaves of Hyper-V's interface that this KVM can give to a guest.
    pub fn supported_hyperv(&self) -> Result<Vec<kvm_cpuid_entry2>, KvmError> {
        let mut leaves = CpuId::new(KVM_MAX_CPUID_ENTRIES)
            .map_err(|_| KvmError::Capability("so many leaves of Hyper-V's interface"))?;
        // SAFETY: the struct has room for as many entries as its count says, which the kernel keeps to.
        let result = unsafe {
            ioctl_with_mut_ptr(&self.0, KVM_GET_SUPPORTED_HV_CPUID(), leaves.as_mut_fam_struct_ptr())
        };
        if result < 0 {
            let source = kvm_ioctls::Error::last();
            return Err(failed("list what it can do of Hyper-V's interface")(source));
        }
        Ok(leaves.as_slice().to_vec())
    }
}

/// Gives a vCPU Hyper-V's synthetic interrupt controller.
pub fn enable_synic(vcpu: &VcpuFd) -> Result<(), KvmError> {
    let synic = kvm_enable_cap { cap: KVM_CAP_HYPERV_SYNIC2, ..Default::default() };
    vcpu.enable_cap(&synic).map_err(failed("give a vCPU Hyper-V's interrupt controller"))
}
