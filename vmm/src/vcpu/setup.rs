//! A vCPU before its first instruction.

use arch::boot::{Entry, vcpu_regs};
use kvm_bindings::{CpuId, KVM_MP_STATE_RUNNABLE, Msrs, kvm_cpuid_entry2, kvm_mp_state};
use kvm_ioctls::VcpuFd;

use crate::kvm::{KvmError, enable_synic, failed};

/// What a vCPU does when the machine starts.
#[derive(Clone, Debug)]
pub enum Role {
    /// Starts at the kernel's entry.
    Boot(Entry),
    /// Waits for the boot processor's start-up interrupt.
    Application,
    /// Goes on from a state that it gets while it waits at the gate.
    Resumed,
}

/// A new vCPU and everything needed to set it up.
#[derive(Debug)]
pub struct VcpuSetup {
    vcpu: VcpuFd,
    index: u32,
    cpuid: Vec<kvm_cpuid_entry2>,
    x2apic: bool,
    synic: bool,
    role: Role,
}

impl VcpuSetup {
    /// The new vCPU number `index`, which is to have these CPUID leaves. With `x2apic` its local APIC starts in that
    /// mode, as it has to where identifiers do not fit the old one.
    pub fn new(vcpu: VcpuFd, index: u32, cpuid: Vec<kvm_cpuid_entry2>, x2apic: bool, role: Role) -> Self {
        Self { vcpu, index, cpuid, x2apic, synic: false, role }
    }

    /// The same with Hyper-V's synthetic interrupt controller, if it is wanted.
    pub fn with_synic(mut self, wanted: bool) -> Self {
        self.synic = wanted;
        self
    }

    /// Number of the vCPU.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Sets the vCPU up; best done on the thread that will run it.
    pub fn finish(self) -> Result<VcpuFd, KvmError> {
        // Before any of its registers is set.
        if self.synic {
            enable_synic(&self.vcpu)?;
        }
        if matches!(self.role, Role::Resumed) {
            return Ok(self.vcpu);
        }
        let cpuid =
            CpuId::from_entries(&self.cpuid).map_err(|_| KvmError::Capability("so many CPUID leaves"))?;
        self.vcpu.set_cpuid2(&cpuid).map_err(failed("set CPUID leaves"))?;
        let mut entries = arch::msr::boot_entries().to_vec();
        if self.x2apic {
            entries.push(arch::msr::x2apic_entry(matches!(self.role, Role::Boot(_))));
        }
        let msrs = Msrs::from_entries(&entries)
            .map_err(|_| KvmError::Capability("so many model-specific registers"))?;
        let taken = self.vcpu.set_msrs(&msrs).map_err(failed("set model-specific registers"))?;
        if let Some(refused) = entries.get(taken) {
            return Err(KvmError::Register(refused.index));
        }
        if let Role::Boot(entry) = &self.role {
            set_registers(&self.vcpu, entry)?;
        }
        Ok(self.vcpu)
    }
}

fn set_registers(vcpu: &VcpuFd, entry: &Entry) -> Result<(), KvmError> {
    let (regs, patch) = vcpu_regs(entry);
    let mut sregs = vcpu.get_sregs().map_err(failed("read segment registers"))?;
    patch(&mut sregs);
    vcpu.set_sregs(&sregs).map_err(failed("set segment registers"))?;
    vcpu.set_regs(&regs).map_err(failed("set registers"))?;
    let runnable = kvm_mp_state { mp_state: KVM_MP_STATE_RUNNABLE };
    vcpu.set_mp_state(runnable).map_err(failed("make the boot processor runnable"))
}
