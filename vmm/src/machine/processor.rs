//! What the guest has seen of its processor.

use std::collections::BTreeMap;

use arch::cpuid::{
    CpuModel, FeaturePolicy, GuestCpu, HostCpu, IA32_ARCH_CAPABILITIES, IA32_PERF_CAPABILITIES,
};
use kvm_bindings::kvm_cpuid_entry2;

use super::Machine;
use crate::kvm::KvmError;
use crate::plan::CpuPlan;
use crate::vcpu::VcpuState;

/// What the first vCPU was given, here or where the machine comes from.
#[derive(Debug, Default)]
pub(super) struct Seen {
    leaves: Vec<kvm_cpuid_entry2>,
    tsc_khz: u32,
    /// Registers that tell of features; none if they are those that the host's KVM gives.
    registers: Option<BTreeMap<u32, u64>>,
}

impl Seen {
    /// That of a machine that begins here.
    pub(super) fn given(leaves: Vec<kvm_cpuid_entry2>, tsc_khz: Option<u32>) -> Self {
        Self { leaves, tsc_khz: tsc_khz.unwrap_or(0), registers: None }
    }

    /// That of a machine that comes with a state.
    pub(super) fn brought(state: &VcpuState) -> Self {
        let registers = [IA32_ARCH_CAPABILITIES, IA32_PERF_CAPABILITIES]
            .into_iter()
            .filter_map(|register| Some((register, *state.msrs.get(&register)?)));
        Self {
            leaves: state.cpuid.iter().map(|leaf| leaf.0).collect(),
            tsc_khz: state.tsc_khz,
            registers: Some(registers.collect()),
        }
    }

    /// What another host has to give to this guest. `host` is the one whose KVM has given it its registers.
    fn guest(&self, plan: &CpuPlan, host: Option<&HostCpu>) -> GuestCpu {
        let mut seen = HostCpu::new(&self.leaves);
        seen.limits.tsc_khz = self.tsc_khz;
        let given = host.map(|host| &host.limits.registers);
        seen.limits.registers = self.registers.as_ref().or(given).cloned().unwrap_or_default();
        let forced = plan.features.iter().filter(|(_, policy)| *policy == FeaturePolicy::Force);
        let forced = forced.map(|(name, _)| name.clone()).collect();
        GuestCpu { seen, forced, host: None }
    }
}

/// What a host has to give to the guest with this vCPU, whose processors were planned as `plan`.
pub fn seen_by(state: &VcpuState, plan: &CpuPlan) -> GuestCpu {
    Seen::brought(state).guest(plan, None)
}

impl Machine {
    /// What another host has to give to the guest, whose processors were planned as `plan`.
    ///
    /// # Errors
    /// KVM does not tell.
    pub fn processor(&self, plan: &CpuPlan) -> Result<GuestCpu, KvmError> {
        let host = self.hypervisor.processor()?;
        let guest = self.seen.guest(plan, Some(&host));
        // One that was given all of a host is at home on its like only.
        Ok(GuestCpu { host: (plan.model == CpuModel::HostPassthrough).then_some(host), ..guest })
    }
}
