//! Model specific registers a vCPU needs before its first instruction.

use kvm_bindings::kvm_msr_entry;

/// IA32_MISC_ENABLE (Intel SDM vol. 4, table 2-2).
pub const IA32_MISC_ENABLE: u32 = 0x1A0;
/// Fast-strings enable: Linux turns off `rep movsb` copying on Intel when it reads 0.
const FAST_STRINGS: u64 = 1;
/// IA32_MTRR_DEF_TYPE (Intel SDM vol. 3 §12.11.2.1).
pub const IA32_MTRR_DEF_TYPE: u32 = 0x2FF;
/// MTRRs enabled, fixed ranges off, default type write-back.
const MTRR_ENABLED_WRITE_BACK: u64 = 1 << 11 | 6;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_write_back_by_default() {
        let [misc, mtrr] = boot_entries();
        assert_eq!((misc.index, misc.data), (0x1A0, 1));
        assert_eq!((mtrr.index, mtrr.data), (0x2FF, 0x806));
    }
}
