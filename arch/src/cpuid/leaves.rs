//! A list of CPUID entries that can be looked up by leaf and subleaf.

use std::ops::Range;

use kvm_bindings::{KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// Where a hypervisor's leaves begin, and where KVM's do when Hyper-V's are there.
const HYPERVISOR: u32 = 0x4000_0000;
const MOVED: u32 = 0x4000_0100;

/// One of the four result registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reg {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// Whether the subleaf in ECX matters for `function`.
fn has_subleaves(function: u32) -> bool {
    matches!(
        function,
        4 | 7 | 0xB | 0xD | 0xF | 0x10 | 0x12 | 0x14 | 0x17..=0x1B | 0x1D..=0x20 | 0x23 | 0x24 | 0x8000_001D | 0x8000_0026
    )
}

pub(super) fn reg(entry: &mut kvm_cpuid_entry2, reg: Reg) -> &mut u32 {
    match reg {
        Reg::Eax => &mut entry.eax,
        Reg::Ebx => &mut entry.ebx,
        Reg::Ecx => &mut entry.ecx,
        Reg::Edx => &mut entry.edx,
    }
}

/// CPUID entries in KVM's order, with new ones at the end.
#[derive(Debug, Clone)]
pub(super) struct Leaves(Vec<kvm_cpuid_entry2>);

impl Leaves {
    pub(super) fn new(supported: &[kvm_cpuid_entry2]) -> Self {
        Self(supported.to_vec())
    }

    /// The same; where the guest sees Hyper-V, KVM's own leaves are where they are without it.
    pub(super) fn beside_hyperv(supported: &[kvm_cpuid_entry2]) -> Self {
        let mut leaves = Self::new(supported);
        let is_kvm = |leaf: &&kvm_cpuid_entry2| leaf.ebx == u32::from_le_bytes(*b"KVMK");
        if leaves.get(MOVED, 0).filter(is_kvm).is_some() {
            leaves.remove(|function| (HYPERVISOR..MOVED).contains(&function));
            for entry in leaves.0.iter_mut().filter(|entry| (MOVED..MOVED + 0x100).contains(&entry.function))
            {
                entry.function -= MOVED - HYPERVISOR;
            }
        }
        leaves
    }

    pub(super) fn get(&self, function: u32, index: u32) -> Option<&kvm_cpuid_entry2> {
        self.0.iter().find(|entry| entry.function == function && entry.index == index)
    }

    pub(super) fn get_mut(&mut self, function: u32, index: u32) -> Option<&mut kvm_cpuid_entry2> {
        self.0.iter_mut().find(|entry| entry.function == function && entry.index == index)
    }

    /// All subleaves of `function`.
    pub(super) fn subleaves_mut(&mut self, function: u32) -> impl Iterator<Item = &mut kvm_cpuid_entry2> {
        self.0.iter_mut().filter(move |entry| entry.function == function)
    }

    /// The entry, made empty if there is none.
    pub(super) fn at(&mut self, function: u32, index: u32) -> &mut kvm_cpuid_entry2 {
        let found = self.0.iter().position(|entry| entry.function == function && entry.index == index);
        let place = found.unwrap_or_else(|| {
            let flags = if has_subleaves(function) { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 };
            self.0.push(kvm_cpuid_entry2 { function, index, flags, ..Default::default() });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    /// Gives the leaves of a range other numbers.
    pub(super) fn renumber(&mut self, range: Range<u32>, by: u32) {
        for entry in self.0.iter_mut().filter(|entry| range.contains(&entry.function)) {
            entry.function = entry.function.saturating_add(by);
        }
    }

    pub(super) fn remove(&mut self, unwanted: impl Fn(u32) -> bool) {
        self.0.retain(|entry| !unwanted(entry.function));
    }

    /// Value of a register, 0 where there is no such leaf, as the processor answers.
    pub(super) fn value(&self, function: u32, index: u32, register: Reg) -> u32 {
        let mut entry = self.get(function, index).copied().unwrap_or_default();
        *reg(&mut entry, register)
    }

    /// Highest basic leaf announced.
    pub(super) fn max_basic(&self) -> u32 {
        self.value(0, 0, Reg::Eax)
    }

    /// Raises the announced maximum of the range that `function` is in, so that the guest looks at it.
    pub(super) fn announce(&mut self, function: u32) {
        let base = self.at(function & 0xF000_0000, 0);
        base.eax = base.eax.max(function);
    }

    pub(super) fn into_vec(self) -> Vec<kvm_cpuid_entry2> {
        self.0
    }
}
