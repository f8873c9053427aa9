//! KVM as this program uses it: the module itself, and the narrow handles that devices get of a VM.

mod chips;
mod clock;
mod doorbells;
mod hyperv;
mod lines;
mod memory;
mod nmi;
mod processor;
mod raw;
mod routes;

use std::path::Path;
use std::sync::Arc;

use kvm_bindings::{
    KVM_API_VERSION, KVM_CAP_X2APIC_API, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2, kvm_enable_cap,
};
use kvm_ioctls::{Cap, Kvm, VmFd};

pub use chips::IrqChips;
pub use clock::{StoppedClocks, set_tsc_back, set_tsc_offset, tsc_offset};
pub use doorbells::KvmDoorbells;
pub use hyperv::enable_synic;
pub use lines::GsiLine;
pub use memory::{add_slot, take_written};
pub use nmi::inject_nmi;
pub use raw::Raw;
pub use routes::KvmRoutes;

/// Device node of KVM.
const DEVICE: &str = "/dev/kvm";
/// Present in sysfs when KVM runs without hardware virtualization below it, in which case it emulates kernel code
/// instruction by instruction and knows too few of them for an operating system.
const PVM_MODULE: &str = "/sys/module/kvm_pvm";

/// KVM did not give what a machine needs.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// There is no KVM on this host.
    #[error(
        "{DEVICE} does not exist: load the module kvm_intel or kvm_amd, and enable virtualization in the firmware"
    )]
    Missing,
    /// The user may not use KVM.
    #[error(
        "{DEVICE} may not be opened by this user: add the user to the group kvm, or pass the device to the container"
    )]
    Denied,
    /// Some other failure of opening.
    #[error("{DEVICE} could not be opened")]
    Open(#[source] kvm_ioctls::Error),
    /// The kernel speaks another KVM API.
    #[error("{DEVICE} speaks API version {0}; version {KVM_API_VERSION} is needed")]
    Version(i32),
    /// A capability is missing.
    #[error("this host's KVM lacks {0}; a newer kernel is needed")]
    Capability(&'static str),
    /// A model-specific register was refused.
    #[error("KVM does not let model-specific register {0:#x} be set as every guest needs it")]
    Register(u32),
    /// A model-specific register was not given back the value that it had when it was saved.
    #[error(
        "KVM does not let model-specific register {index:#x} be set to {value:#x}, which it had when it was saved"
    )]
    SavedRegister {
        /// The register.
        index: u32,
        /// Its value.
        value: u64,
    },
    /// Time stamp counters here run at another rate.
    #[error("the guest's time stamp counter runs at {saved} kHz, those of this host at {here} kHz")]
    TscRate {
        /// The guest's.
        saved: u32,
        /// This host's.
        here: u32,
    },
    /// A call failed.
    #[error("KVM could not {what}")]
    Call {
        /// What was being done.
        what: &'static str,
        /// What KVM said.
        #[source]
        source: kvm_ioctls::Error,
    },
}

/// For `map_err`: names the call that failed.
pub fn failed(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> KvmError {
    move |source| KvmError::Call { what, source }
}

/// Makes a call again for as long as it is interrupted before it has done anything: to watch over the process's memory, which a new VM does,
/// the kernel takes many locks, and gives up when anything else wants the thread, be it an own request of its that has been completed.
fn to_its_end<T>(mut call: impl FnMut() -> Result<T, kvm_ioctls::Error>) -> Result<T, kvm_ioctls::Error> {
    loop {
        match call() {
            Err(error) if error.errno() == libc::EINTR => {}
            result => return result,
        }
    }
}

/// An open `/dev/kvm`.
#[derive(Debug)]
pub struct Hypervisor(Kvm);

impl Hypervisor {
    /// The module itself.
    fn kvm(&self) -> &Kvm {
        &self.0
    }

    /// Opens KVM and checks that it can do what every machine needs.
    pub fn open() -> Result<Self, KvmError> {
        let kvm = Kvm::new().map_err(|error| match error.errno() {
            libc::ENOENT | libc::ENODEV | libc::ENXIO => KvmError::Missing,
            libc::EACCES | libc::EPERM => KvmError::Denied,
            _ => KvmError::Open(error),
        })?;
        let version = kvm.get_api_version();
        if u32::try_from(version) != Ok(KVM_API_VERSION) {
            return Err(KvmError::Version(version));
        }
        let needed = [
            (Cap::Irqchip, "an in-kernel interrupt controller"),
            (Cap::Irqfd, "irqfd"),
            (Cap::Ioeventfd, "ioeventfd"),
            (Cap::ImmediateExit, "immediate exit"),
        ];
        match needed.into_iter().find(|(cap, _)| !kvm.check_extension(*cap)) {
            Some((_, name)) => Err(KvmError::Capability(name)),
            None => Ok(Self(kvm)),
        }
    }

    /// Why guests with an operating system cannot run here, if they cannot.
    pub fn limitation() -> Option<&'static str> {
        Path::new(PVM_MODULE).exists().then_some(
            "this host's KVM (module kvm_pvm) has no hardware virtualization below it: it cannot run an operating \
             system, only small test programs",
        )
    }

    /// CPUID leaves that this KVM can give to a guest.
    pub fn supported_cpuid(&self) -> Result<Vec<kvm_cpuid_entry2>, KvmError> {
        let supported =
            self.0.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(failed("list CPUID leaves"))?;
        Ok(supported.as_slice().to_vec())
    }

    /// Model-specific registers that make up a vCPU's state.
    pub fn msr_indices(&self) -> Result<Vec<u32>, KvmError> {
        let list = self.0.get_msr_index_list().map_err(failed("list model-specific registers"))?;
        Ok(list.as_slice().to_vec())
    }

    /// Greatest number of vCPUs of one VM.
    pub fn max_vcpus(&self) -> usize {
        self.0.get_max_vcpus()
    }

    /// Makes a VM with nothing in it.
    fn empty_vm(&self) -> Result<VmFd, KvmError> {
        to_its_end(|| self.0.create_vm()).map_err(failed("create a VM"))
    }

    /// Makes a VM with in-kernel interrupt controllers, ready for memory and vCPUs.
    pub fn create_vm(&self) -> Result<Arc<VmFd>, KvmError> {
        let vm = self.empty_vm()?;
        vm.set_identity_map_address(arch::layout::KVM_IDENTITY_MAP)
            .map_err(failed("place the identity map"))?;
        let tss = usize::try_from(arch::layout::KVM_TSS).unwrap_or_default();
        vm.set_tss_address(tss).map_err(failed("place the task state segment"))?;
        vm.create_irq_chip().map_err(failed("create interrupt controllers"))?;
        let x2apic = kvm_enable_cap { cap: KVM_CAP_X2APIC_API, args: [3, 0, 0, 0], ..Default::default() };
        // Only needed from 255 vCPUs on, which a KVM without it does not reach.
        let _ = vm.enable_cap(&x2apic);
        Ok(Arc::new(vm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_interrupted_is_made_again_and_no_other() {
        let mut answers = [Err(libc::EINTR), Err(libc::EINTR), Ok(5), Err(libc::ENOMEM)].into_iter();
        let mut call = || answers.next().unwrap().map_err(kvm_ioctls::Error::new);
        assert_eq!(to_its_end(&mut call).unwrap(), 5);
        assert_eq!(to_its_end(&mut call).unwrap_err().errno(), libc::ENOMEM);
    }
}
