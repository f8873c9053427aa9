//! Model specific registers a vCPU needs before its first instruction.

use kvm_bindings::kvm_msr_entry;

use crate::layout::LAPIC_BASE;

/// IA32_MISC_ENABLE (Intel SDM vol. 4, table 2-2).
pub const IA32_MISC_ENABLE: u32 = 0x1A0;
/// Fast-strings enable: Linux turns off `rep movsb` copying on Intel when it reads 0.
const FAST_STRINGS: u64 = 1;
/// IA32_MTRR_DEF_TYPE (Intel SDM vol. 3 §12.11.2.1).
pub const IA32_MTRR_DEF_TYPE: u32 = 0x2FF;
/// MTRRs enabled, fixed ranges off, default type write-back.
const MTRR_ENABLED_WRITE_BACK: u64 = 1 << 11 | 6;

/// IA32_APIC_BASE (Intel SDM vol. 3 §11.4.4).
pub const IA32_APIC_BASE: u32 = 0x1B;
const APIC_ENABLED: u64 = 1 << 11;
const X2APIC_ENABLED: u64 = 1 << 10;
const BOOTSTRAP_PROCESSOR: u64 = 1 << 8;

/// The registers to set on every vCPU with `KVM_SET_MSRS`, the secondary ones included.
///
/// The list is short on purpose, because each entry costs time on each vCPU: KVM already resets SYSENTER, STAR, PAT
/// and the kvmclock registers to what a kernel expects. The TSC is left out too: KVM synchronises the vCPUs' counters
/// at creation and a write could only pull them apart.
#[must_use]
pub fn boot_entries() -> [kvm_msr_entry; 2] {
    let entry = |index, data| kvm_msr_entry { index, data, ..Default::default() };
    [entry(IA32_MISC_ENABLE, FAST_STRINGS), entry(IA32_MTRR_DEF_TYPE, MTRR_ENABLED_WRITE_BACK)]
}

/// Starts a vCPU's local APIC in x2APIC mode, as firmware does on machines with APIC ids from 255 up. It goes with
/// [`boot_entries`] on every vCPU, after CPUID; `bootstrap` is true for vCPU 0.
///
/// Without it such a machine cannot boot: Linux leaves out processors whose id does not fit the mode it finds itself
/// in, and in xAPIC mode ids 1 and 257 both answer to 1.
#[must_use]
pub fn x2apic_entry(bootstrap: bool) -> kvm_msr_entry {
    let bootstrap = if bootstrap { BOOTSTRAP_PROCESSOR } else { 0 };
    let data = LAPIC_BASE | APIC_ENABLED | X2APIC_ENABLED | bootstrap;
    kvm_msr_entry { index: IA32_APIC_BASE, data, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_write_back_by_default() {
        let [misc, mtrr] = boot_entries();
        assert_eq!((misc.index, misc.data), (0x1A0, 1));
        assert_eq!((mtrr.index, mtrr.data), (0x2FF, 0x806));
    }

    #[test]
    fn only_vcpu_0_is_the_bootstrap_processor() {
        assert_eq!((x2apic_entry(true).data, x2apic_entry(false).data), (0xFEE0_0D00, 0xFEE0_0C00));
    }
}
