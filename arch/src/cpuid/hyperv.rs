//! Hyper-V's interface, as KVM carries it out for guests that know it better than KVM's own: leaves from 0x40000000
//! (Microsoft, "Hypervisor Top-Level Functional Specification" 6.0b, chapter 2).

use std::collections::BTreeSet;

use kvm_bindings::kvm_cpuid_entry2;
use serde::{Deserialize, Serialize};

use super::CpuidError;
use super::leaves::{Leaves, Reg};

const VENDOR: u32 = 0x4000_0000;
const INTERFACE: u32 = 0x4000_0001;
const VERSION: u32 = 0x4000_0002;
const FEATURES: u32 = 0x4000_0003;
const ADVICE: u32 = 0x4000_0004;
const LIMITS: u32 = 0x4000_0005;
/// KVM's own leaves make room for these: guests look for them at every multiple of 0x100.
pub(super) const MOVED_BY: u32 = 0x100;

/// Features EAX: hypercalls, which all need.
const HYPERCALLS: u32 = 1 << 5;
/// "Hv#1": the interface is Microsoft's.
const HV1: u32 = u32::from_le_bytes(*b"Hv#1");
/// Build and version that are told: Windows Server 2016's, old enough to promise nothing that KVM lacks.
const BUILD: u32 = 14393;
const MAJOR: u32 = 10 << 16;
/// Advice EBX: never tell the hypervisor of a spin lock that is waited for.
const NEVER: u32 = u32::MAX;
/// Most virtual processors, of which KVM's interface has no limit of its own.
const NO_LIMIT: u32 = u32::MAX;
const USUAL_VENDOR: [u8; 12] = *b"Microsoft Hv";

/// Something that Hyper-V offers its guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Enlightenment {
    /// Timeouts are relaxed.
    Relaxed,
    /// The local APIC is used by registers.
    Vapic,
    /// Each vCPU knows its index.
    VpIndex,
    /// Each vCPU knows how long it has run.
    Runtime,
    /// The synthetic interrupt controller.
    Synic,
    /// Synthetic timers.
    SynicTimer,
    /// Synthetic timers that interrupt without a message.
    DirectTimer,
    /// The machine is reset by a register.
    Reset,
    /// Frequencies are told by registers.
    Frequencies,
    /// A changed frequency is told of.
    Reenlightenment,
    /// TLBs are flushed by hypercall.
    TlbFlush,
    /// Single ranges, too.
    ExtendedTlbFlush,
    /// vCPUs interrupt each other by hypercall.
    Ipi,
    /// The reference clock, by register and page.
    Time,
}

impl Enlightenment {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Relaxed,
        Self::Vapic,
        Self::VpIndex,
        Self::Runtime,
        Self::Synic,
        Self::SynicTimer,
        Self::DirectTimer,
        Self::Reset,
        Self::Frequencies,
        Self::Reenlightenment,
        Self::TlbFlush,
        Self::ExtendedTlbFlush,
        Self::Ipi,
        Self::Time,
    ];

    /// Where manifests have it, below `spec.domain`.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Relaxed => "features.hyperv.relaxed",
            Self::Vapic => "features.hyperv.vapic",
            Self::VpIndex => "features.hyperv.vpindex",
            Self::Runtime => "features.hyperv.runtime",
            Self::Synic => "features.hyperv.synic",
            Self::SynicTimer => "features.hyperv.synictimer",
            Self::DirectTimer => "features.hyperv.synictimer.direct",
            Self::Reset => "features.hyperv.reset",
            Self::Frequencies => "features.hyperv.frequencies",
            Self::Reenlightenment => "features.hyperv.reenlightenment",
            Self::TlbFlush => "features.hyperv.tlbflush",
            Self::ExtendedTlbFlush => "features.hyperv.tlbflush.extended",
            Self::Ipi => "features.hyperv.ipi",
            Self::Time => "clock.timer.hyperv",
        }
    }

    /// The bits by which the guest is told of it, which KVM lists where it can do it.
    fn bits(self) -> &'static [(u32, Reg, u32)] {
        /// Advice EAX: sets of processors beyond 64, by those who flush and interrupt.
        const SETS: (u32, Reg, u32) = (ADVICE, Reg::Eax, 1 << 11);
        match self {
            Self::Relaxed => &[(ADVICE, Reg::Eax, 1 << 5)],
            Self::Vapic => &[(FEATURES, Reg::Eax, 1 << 4), (ADVICE, Reg::Eax, 1 << 3)],
            Self::VpIndex => &[(FEATURES, Reg::Eax, 1 << 6)],
            Self::Runtime => &[(FEATURES, Reg::Eax, 1 << 0)],
            Self::Synic => &[(FEATURES, Reg::Eax, 1 << 2)],
            Self::SynicTimer => &[(FEATURES, Reg::Eax, 1 << 3)],
            Self::DirectTimer => &[(FEATURES, Reg::Edx, 1 << 19)],
            Self::Reset => &[(FEATURES, Reg::Eax, 1 << 7)],
            Self::Frequencies => &[(FEATURES, Reg::Eax, 1 << 11), (FEATURES, Reg::Edx, 1 << 8)],
            Self::Reenlightenment => &[(FEATURES, Reg::Eax, 1 << 13)],
            Self::TlbFlush => &[(ADVICE, Reg::Eax, 1 << 2), SETS],
            Self::ExtendedTlbFlush => &[(FEATURES, Reg::Edx, 1 << 14)],
            Self::Ipi => &[(ADVICE, Reg::Eax, 1 << 10), SETS],
            Self::Time => &[(FEATURES, Reg::Eax, 1 << 1), (FEATURES, Reg::Eax, 1 << 9)],
        }
    }

    fn is_in(self, supported: &Leaves) -> bool {
        self.bits().iter().all(|(leaf, reg, bit)| supported.value(*leaf, 0, *reg) & bit != 0)
    }
}

/// What of Hyper-V a guest sees.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HyperV {
    /// What is offered.
    pub enlightenments: BTreeSet<Enlightenment>,
    /// How often a spin lock is tried before the hypervisor is told; never if there is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spinlock_retries: Option<u32>,
    /// The vendor's name, of 12 bytes at most, if it is not Microsoft's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
}

impl HyperV {
    /// All that KVM can do, by its answer to `KVM_GET_SUPPORTED_HV_CPUID`.
    #[must_use]
    pub fn all(supported: &[kvm_cpuid_entry2]) -> Self {
        let supported = Leaves::new(supported);
        let can = Enlightenment::ALL.into_iter().filter(|one| one.is_in(&supported));
        Self { enlightenments: can.collect(), spinlock_retries: Some(4096), vendor: None }
    }

    /// Whether KVM can do it all, by the same answer.
    ///
    /// # Errors
    /// The first thing that it cannot do.
    pub fn check(&self, supported: &[kvm_cpuid_entry2]) -> Result<(), CpuidError> {
        let supported = Leaves::new(supported);
        match self.enlightenments.iter().find(|one| !one.is_in(&supported)) {
            Some(one) => Err(CpuidError::MissingEnlightenment { field: one.field() }),
            None => Ok(()),
        }
    }

    /// Whether vCPUs need the synthetic interrupt controller.
    #[must_use]
    pub fn has_synic(&self) -> bool {
        self.enlightenments.contains(&Enlightenment::Synic)
    }
}

/// Puts the interface in front of KVM's own.
pub(super) fn describe(leaves: &mut Leaves, hyperv: &HyperV) {
    leaves.renumber(VENDOR..VENDOR + MOVED_BY, MOVED_BY);
    if let Some(kvm) = leaves.get_mut(VENDOR + MOVED_BY, 0) {
        // The highest of them.
        kvm.eax = kvm.eax.saturating_add(MOVED_BY);
    }
    let vendor = hyperv.vendor.as_ref().map_or(&USUAL_VENDOR[..], |vendor| vendor.as_bytes());
    let mut name = [0; 12];
    name.iter_mut().zip(vendor).for_each(|(place, byte)| *place = *byte);
    let word = |at: usize| name.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
    let [b, c, d] = [0, 4, 8].map(|at| u32::from_le_bytes(word(at)));
    let first = leaves.at(VENDOR, 0);
    (first.eax, first.ebx, first.ecx, first.edx) = (LIMITS, b, c, d);
    leaves.at(INTERFACE, 0).eax = HV1;
    let version = leaves.at(VERSION, 0);
    (version.eax, version.ebx) = (BUILD, MAJOR);
    leaves.at(FEATURES, 0).eax = HYPERCALLS;
    leaves.at(ADVICE, 0).ebx = hyperv.spinlock_retries.unwrap_or(NEVER);
    for (leaf, register, bit) in hyperv.enlightenments.iter().flat_map(|one| one.bits()) {
        *super::leaves::reg(leaves.at(*leaf, 0), *register) |= bit;
    }
    leaves.at(LIMITS, 0).eax = NO_LIMIT;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, eax, ebx, ecx, edx, ..Default::default() }
    }

    #[test]
    fn what_is_asked_for_is_told_and_kvms_own_leaves_make_room() {
        let kvm = [leaf(VENDOR, [VENDOR + 1, 1, 2, 3]), leaf(VENDOR + 1, [0xff, 0, 0, 0])];
        let mut leaves = Leaves::new(&kvm);
        let enlightenments = [Enlightenment::Relaxed, Enlightenment::Time, Enlightenment::Ipi].into();
        describe(&mut leaves, &HyperV { enlightenments, spinlock_retries: Some(8191), vendor: None });
        assert_eq!(leaves.value(VENDOR, 0, Reg::Eax), LIMITS);
        let name = [Reg::Ebx, Reg::Ecx, Reg::Edx].map(|reg| leaves.value(VENDOR, 0, reg).to_le_bytes());
        assert_eq!(name.concat(), USUAL_VENDOR);
        assert_eq!(leaves.value(INTERFACE, 0, Reg::Eax).to_le_bytes(), *b"Hv#1");
        assert_eq!(leaves.value(FEATURES, 0, Reg::Eax), HYPERCALLS | 1 << 1 | 1 << 9);
        assert_eq!(leaves.value(ADVICE, 0, Reg::Eax), 1 << 5 | 1 << 10 | 1 << 11);
        assert_eq!(leaves.value(ADVICE, 0, Reg::Ebx), 8191);
        let own = leaves.get(0x4000_0100, 0).unwrap();
        assert_eq!([own.eax, own.ebx, own.ecx, own.edx], [0x4000_0101, 1, 2, 3]);
        assert_eq!(leaves.value(0x4000_0101, 0, Reg::Eax), 0xff);
    }

    #[test]
    fn a_vendor_and_no_word_of_spin_locks() {
        let mut leaves = Leaves::new(&[]);
        describe(&mut leaves, &HyperV { vendor: Some("short".into()), ..HyperV::default() });
        assert_eq!(leaves.value(VENDOR, 0, Reg::Ebx).to_le_bytes(), *b"shor");
        assert_eq!(leaves.value(VENDOR, 0, Reg::Ecx).to_le_bytes(), *b"t\0\0\0");
        assert_eq!(leaves.value(ADVICE, 0, Reg::Ebx), NEVER);
        assert_eq!(leaves.value(VENDOR + MOVED_BY, 0, Reg::Eax), 0, "there is no KVM to see");
    }

    #[test]
    fn what_kvm_cannot_do_is_named() {
        let supported = [leaf(FEATURES, [1 << 2 | 1 << 6, 0, 0, 0]), leaf(ADVICE, [1 << 2, 0, 0, 0])];
        let all = HyperV::all(&supported);
        assert_eq!(all.enlightenments, [Enlightenment::VpIndex, Enlightenment::Synic].into());
        assert!(all.has_synic() && all.check(&supported).is_ok());
        // Half of it is not enough.
        let flush = HyperV { enlightenments: [Enlightenment::TlbFlush].into(), ..HyperV::default() };
        let error = flush.check(&supported).unwrap_err().to_string();
        assert!(error.contains("features.hyperv.tlbflush"), "{error}");
    }
}
