//! What a vCPU is made of while it does not run.
#![expect(unsafe_code, reason = "KVM_SET_XSAVE reads as much as the processor's state is long")]

use std::collections::BTreeMap;

use kvm_bindings::nested::KvmNestedStateBuffer;
use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, KVM_MAX_MSR_ENTRIES, Msrs, kvm_cpuid_entry2, kvm_debugregs,
    kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};

use crate::kvm::{KvmError, Raw, failed, set_tsc_offset, tsc_offset};

/// IA32_TIME_STAMP_COUNTER (Intel SDM vol. 4, table 2-2).
const IA32_TSC: u32 = 0x10;
/// IA32_TSC_DEADLINE, of the local APIC's timer.
const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// A vCPU that does not run. All values are KVM's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VcpuState {
    /// CPUID leaves.
    pub cpuid: Vec<Raw<kvm_cpuid_entry2>>,
    /// General registers.
    pub regs: Raw<kvm_regs>,
    /// Segments, control registers, the local APIC's base.
    pub sregs: Raw<kvm_sregs>,
    /// Floating point and vector registers.
    pub xsave: Raw<kvm_xsave>,
    /// Extended control registers.
    pub xcrs: Raw<kvm_xcrs>,
    /// Debug registers.
    pub debug: Raw<kvm_debugregs>,
    /// The local APIC.
    pub lapic: Raw<kvm_lapic_state>,
    /// Model-specific registers but for the two below, by index.
    pub msrs: BTreeMap<u32, u64>,
    /// The time stamp counter at the moment when the machine stopped.
    pub tsc: u64,
    /// The counter's rate; 0 if the host does not know it.
    pub tsc_khz: u32,
    /// The count at which the local APIC's timer fires, in its mode that goes by the counter; 0 if it is not set.
    pub tsc_deadline: u64,
    /// Whether it runs, sleeps, or waits to be started.
    pub mp: Raw<kvm_mp_state>,
    /// Exceptions, interrupts and NMIs under way.
    pub events: Raw<kvm_vcpu_events>,
    /// What the guest's own virtual machines need, if KVM gives any to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested: Option<Box<Raw<KvmNestedStateBuffer>>>,
}

impl VcpuState {
    /// Reads a vCPU that does not run. `host_tsc` is what the host's counter was when the machine stopped, `indices` are
    /// the registers that KVM keeps.
    pub fn save(vcpu: &VcpuFd, host_tsc: u64, indices: &[u32]) -> Result<Self, KvmError> {
        let mut msrs = read_msrs(vcpu, indices)?;
        let tsc_deadline = msrs.remove(&IA32_TSC_DEADLINE).unwrap_or(0);
        let tsc_now = msrs.remove(&IA32_TSC).unwrap_or(0);
        let cpuid = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).map_err(failed("read CPUID leaves"))?;
        Ok(Self {
            cpuid: cpuid.as_slice().iter().copied().map(Raw).collect(),
            // KVM_GET_MP_STATE may change what the others say, and comes first.
            mp: Raw(vcpu.get_mp_state().map_err(failed("read whether a vCPU runs"))?),
            regs: Raw(vcpu.get_regs().map_err(failed("read registers"))?),
            sregs: Raw(vcpu.get_sregs().map_err(failed("read segment registers"))?),
            xsave: Raw(vcpu.get_xsave().map_err(failed("read vector registers"))?),
            xcrs: Raw(vcpu.get_xcrs().map_err(failed("read extended control registers"))?),
            debug: Raw(vcpu.get_debug_regs().map_err(failed("read debug registers"))?),
            lapic: Raw(vcpu.get_lapic().map_err(failed("read a local APIC"))?),
            events: Raw(vcpu.get_vcpu_events().map_err(failed("read pending events"))?),
            nested: nested(vcpu)?,
            // Kernels older than 5.16 do not tell the distance: then the time until now is not hidden.
            tsc: tsc_offset(vcpu).map_or(tsc_now, |offset| host_tsc.wrapping_add(offset)),
            tsc_khz: vcpu.get_tsc_khz().unwrap_or(0),
            tsc_deadline,
            msrs,
        })
    }

    /// Gives this state to a vCPU that has not run yet. The counter is to stand at its saved value when the host's stands
    /// at `host_tsc`; `indices` are the registers that this KVM keeps.
    pub fn restore(&self, vcpu: &VcpuFd, host_tsc: u64, indices: &[u32]) -> Result<(), KvmError> {
        let leaves: Vec<_> = self.cpuid.iter().map(|leaf| leaf.0).collect();
        let leaves =
            CpuId::from_entries(&leaves).map_err(|_| KvmError::Capability("so many CPUID leaves"))?;
        // Says which registers and which of their bits there are.
        vcpu.set_cpuid2(&leaves).map_err(failed("set CPUID leaves"))?;
        self.check_rate(vcpu)?;
        vcpu.set_mp_state(self.mp.0).map_err(failed("set whether a vCPU runs"))?;
        vcpu.set_regs(&self.regs.0).map_err(failed("set registers"))?;
        // Has the local APIC's base and mode.
        vcpu.set_sregs(&self.sregs.0).map_err(failed("set segment registers"))?;
        // SAFETY: features that make the state longer than 4096 bytes have to be asked for by `arch_prctl`, which
        // nothing here does.
        unsafe { vcpu.set_xsave(&self.xsave.0) }.map_err(failed("set vector registers"))?;
        vcpu.set_xcrs(&self.xcrs.0).map_err(failed("set extended control registers"))?;
        vcpu.set_debug_regs(&self.debug.0).map_err(failed("set debug registers"))?;
        vcpu.set_lapic(&self.lapic.0).map_err(failed("set a local APIC"))?;
        self.restore_tsc(vcpu, host_tsc)?;
        let own = self.msrs.iter().map(|(index, value)| (*index, *value));
        let known = own.filter(|(index, value)| *value != 0 || indices.contains(index));
        write_msrs(vcpu, &known.collect::<Vec<_>>())?;
        if let Some(nested) = &self.nested {
            vcpu.set_nested_state(&nested.0).map_err(failed("set the state of nested virtual machines"))?;
        }
        // After the local APIC, whose state would stop the timer.
        if self.tsc_deadline != 0 {
            write_msrs(vcpu, &[(IA32_TSC_DEADLINE, self.tsc_deadline)])?;
        }
        // Last, because setting registers forgets pending exceptions.
        vcpu.set_vcpu_events(&self.events.0).map_err(failed("set pending events"))
    }

    fn check_rate(&self, vcpu: &VcpuFd) -> Result<(), KvmError> {
        let here = vcpu.get_tsc_khz().unwrap_or(0);
        if arch::cpuid::is_same_rate(self.tsc_khz, here) {
            return Ok(());
        }
        Err(KvmError::TscRate { saved: self.tsc_khz, here })
    }

    fn restore_tsc(&self, vcpu: &VcpuFd, host_tsc: u64) -> Result<(), KvmError> {
        match set_tsc_offset(vcpu, self.tsc.wrapping_sub(host_tsc)) {
            Ok(()) => Ok(()),
            Err(_) => write_msrs(vcpu, &[(IA32_TSC, self.tsc)]),
        }
    }
}

/// Sets the local APIC's timer anew after the counter that it goes by has been changed.
pub(super) fn rearm_deadline(vcpu: &VcpuFd) -> Result<(), KvmError> {
    match read_msrs(vcpu, &[IA32_TSC_DEADLINE])?.get(&IA32_TSC_DEADLINE) {
        None | Some(0) => Ok(()),
        Some(deadline) => write_msrs(vcpu, &[(IA32_TSC_DEADLINE, *deadline)]),
    }
}

fn nested(vcpu: &VcpuFd) -> Result<Option<Box<Raw<KvmNestedStateBuffer>>>, KvmError> {
    let mut state = Box::new(Raw(KvmNestedStateBuffer::empty()));
    // A KVM that gives no virtual machines to its guests refuses.
    match vcpu.nested_state(&mut state.0) {
        Ok(size) => Ok(size.map(|_| state)),
        Err(error) if matches!(error.errno(), libc::EINVAL | libc::ENOTTY) => Ok(None),
        Err(error) => Err(failed("read the state of nested virtual machines")(error)),
    }
}

fn entry((index, data): (u32, u64)) -> kvm_msr_entry {
    kvm_msr_entry { index, data, ..kvm_msr_entry::default() }
}

/// Reads those of the registers that can be read: KVM lists some that this processor has not.
fn read_msrs(vcpu: &VcpuFd, indices: &[u32]) -> Result<BTreeMap<u32, u64>, KvmError> {
    let mut read = BTreeMap::new();
    let mut left = indices;
    while !left.is_empty() {
        let batch = left.get(..left.len().min(KVM_MAX_MSR_ENTRIES)).unwrap_or(left);
        let entries: Vec<_> = batch.iter().map(|index| entry((*index, 0))).collect();
        let mut msrs = msr_list(&entries)?;
        let count = vcpu.get_msrs(&mut msrs).map_err(failed("read model-specific registers"))?;
        read.extend(msrs.as_slice().iter().take(count).map(|entry| (entry.index, entry.data)));
        // It stops at the first that cannot be read, which is left out.
        let skip = if count < batch.len() { count + 1 } else { count };
        left = left.get(skip..).unwrap_or_default();
    }
    Ok(read)
}

/// Sets registers. One that KVM refuses has to hold its value already.
fn write_msrs(vcpu: &VcpuFd, values: &[(u32, u64)]) -> Result<(), KvmError> {
    let mut left = values;
    while !left.is_empty() {
        let batch = left.get(..left.len().min(KVM_MAX_MSR_ENTRIES)).unwrap_or(left);
        let entries: Vec<_> = batch.iter().copied().map(entry).collect();
        let count = vcpu.set_msrs(&msr_list(&entries)?).map_err(failed("set model-specific registers"))?;
        let skip = match batch.get(count) {
            None => count,
            Some(&(index, value)) => {
                if read_msrs(vcpu, &[index])?.get(&index).copied().unwrap_or(0) != value {
                    return Err(KvmError::SavedRegister { index, value });
                }
                count + 1
            }
        };
        left = left.get(skip..).unwrap_or_default();
    }
    Ok(())
}

fn msr_list(entries: &[kvm_msr_entry]) -> Result<Msrs, KvmError> {
    Msrs::from_entries(entries).map_err(|_| KvmError::Capability("so many model-specific registers"))
}
