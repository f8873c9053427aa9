//! The host's processor, as far as guests can have it.

use std::collections::BTreeMap;

use arch::cpuid::{GuestCpu, HostCpu, IA32_ARCH_CAPABILITIES, IA32_PERF_CAPABILITIES, Offer};
use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::Cap;

use super::{Hypervisor, KvmError, failed};

impl Hypervisor {
    /// The host's processor: what its KVM can give to a guest, the rate of its counter, and registers that tell of features.
    pub fn processor(&self) -> Result<HostCpu, KvmError> {
        let mut host = self.processor_without_rate()?;
        host.limits.tsc_khz = self.tsc_khz()?;
        Ok(host)
    }

    /// The same, but for the rate.
    fn processor_without_rate(&self) -> Result<HostCpu, KvmError> {
        let mut host = HostCpu::new(&self.supported_cpuid()?);
        host.limits.scales_tsc = self.kvm().check_extension(Cap::TscControl);
        host.limits.registers = self.feature_registers()?;
        Ok(host)
    }

    /// What guests see of it.
    pub fn offer(&self) -> Result<Offer, KvmError> {
        self.processor().map(offer)
    }

    /// The same for this guest alone: the rate is asked for, which takes a virtual machine, only if it matters.
    pub fn offer_to(&self, guest: &GuestCpu) -> Result<Offer, KvmError> {
        let mut host = self.processor_without_rate()?;
        if guest.seen.limits.tsc_khz != 0 && !host.limits.scales_tsc {
            host.limits.tsc_khz = self.tsc_khz()?;
        }
        Ok(offer(host))
    }

    /// Rate of a guest's counter that nobody has set; 0 if KVM does not tell. Only a vCPU can be asked.
    fn tsc_khz(&self) -> Result<u32, KvmError> {
        let vm = self.empty_vm()?;
        let vcpu = vm.create_vcpu(0).map_err(failed("create a vCPU"))?;
        Ok(vcpu.get_tsc_khz().unwrap_or(0))
    }

    /// Registers that tell of features, with what KVM gives to guests in them.
    fn feature_registers(&self) -> Result<BTreeMap<u32, u64>, KvmError> {
        // A KVM that has none of them does not know the question.
        let known = self.kvm().get_msr_feature_index_list();
        let known = known.map(|list| list.as_slice().to_vec()).unwrap_or_default();
        let mut registers = BTreeMap::new();
        for index in [IA32_ARCH_CAPABILITIES, IA32_PERF_CAPABILITIES] {
            if !known.contains(&index) {
                continue;
            }
            let entry = kvm_msr_entry { index, ..Default::default() };
            let mut values = Msrs::from_entries(&[entry])
                .map_err(|_| KvmError::Capability("so many model-specific registers"))?;
            let read = self.kvm().get_msrs(&mut values).map_err(failed("read model-specific registers"))?;
            registers.extend(values.as_slice().iter().take(read).map(|entry| (entry.index, entry.data)));
        }
        Ok(registers)
    }
}

fn offer(host: HostCpu) -> Offer {
    if Hypervisor::limitation().is_some() { Offer::Own(host) } else { Offer::Chosen(host) }
}
