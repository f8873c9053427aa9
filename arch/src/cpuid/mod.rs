//! What the guest sees of the processor: KVM's supported CPUID, made into one machine's.
//!
//! [`CpuidTemplate::new`] does all the work once, [`CpuidTemplate::for_vcpu`] only writes the APIC id into a copy.
//! Leaf numbers and bits are those of the Intel SDM vol. 2A "CPUID", the AMD64 APM vol. 3 appendix E, and
//! Linux Documentation/virt/kvm/x86/cpuid.rst.

mod feature_table;
mod features;
mod fit;
mod host;
mod hyperv;
mod hypervisor;
mod leaves;
mod limits;
mod models;
mod topology;
mod xsave;

#[cfg(test)]
mod tests;

use kvm_bindings::kvm_cpuid_entry2;
use serde::{Deserialize, Serialize};

pub use features::{FeaturePolicy, feature_names, is_known_feature};
pub use fit::{GuestCpu, IA32_ARCH_CAPABILITIES, IA32_PERF_CAPABILITIES, Misfit, Offer, is_same_rate};
pub use host::{Baseline, HostCpu, Obstacle};
pub use hyperv::{Enlightenment, HyperV};
pub use limits::{Limits, XsavePart};
pub use models::NamedModel;

use crate::topology::Topology;
use leaves::{Leaves, Reg};

/// Leaf 1 ECX: x2APIC, which KVM's in-kernel local APIC always emulates.
const X2APIC: u32 = 1 << 21;
/// Leaf 1 ECX: the local APIC timer has a TSC-deadline mode.
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1 ECX: a hypervisor is present.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 0x80000007 EDX: invariant TSC.
const INVARIANT_TSC: u32 = 1 << 8;

/// Where the guest's processor features come from (KubeVirt `cpu.model`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CpuModel {
    /// All that the host's KVM can give.
    HostPassthrough,
    /// The same without what ties the guest to this one host: invariant TSC and the performance counters.
    #[default]
    HostModel,
    /// This one, whatever more the host has.
    Named(NamedModel),
}

/// What a machine's CPUID is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuidConfig {
    /// Sockets, cores and threads.
    pub topology: Topology,
    /// Which features to begin with.
    pub model: CpuModel,
    /// Policies in the order of the manifest (`cpu.features`); the last word on a feature counts.
    pub features: Vec<(String, FeaturePolicy)>,
    /// TSC frequency (`KVM_GET_TSC_KHZ`), if known; saves the guest a calibration.
    pub tsc_khz: Option<u32>,
    /// Frequency of the local APIC timer: 1_000_000 for KVM's 1 GHz.
    pub apic_bus_khz: u32,
    /// KVM emulates the TSC-deadline timer (`KVM_CAP_TSC_DEADLINE_TIMER`); older kernels do not say so in CPUID.
    pub tsc_deadline_timer: bool,
    /// Hide KVM from the guest (KubeVirt `features.kvm.hidden`): no signature, no paravirtual features.
    pub kvm_hidden: bool,
    /// Offer spin locks that wait in KVM (KubeVirt `features.pvspinlock`).
    pub pv_spinlocks: bool,
    /// What the guest sees of Hyper-V, if anything (KubeVirt `features.hyperv`).
    pub hyperv: Option<HyperV>,
    /// Announce that MSIs can address APIC ids above 255 without interrupt remapping (KVM_FEATURE_MSI_EXT_DEST_ID);
    /// the MSI code has to move those bits into the upper address half. Linux needs it beyond 255 vCPUs.
    pub msi_ext_dest_id: bool,
    /// Tell the guest that its vCPUs have physical processors for themselves (KVM_HINTS_REALTIME).
    pub dedicated_cpus: bool,
}

impl CpuidConfig {
    /// The usual machine: host-model, KVM visible, no policies, frequencies of KVM's own local APIC.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            model: CpuModel::HostModel,
            features: Vec::new(),
            tsc_khz: None,
            apic_bus_khz: 1_000_000,
            tsc_deadline_timer: true,
            kvm_hidden: false,
            pv_spinlocks: true,
            hyperv: None,
            msi_ext_dest_id: topology.needs_x2apic(),
            dedicated_cpus: false,
        }
    }
}

/// Why a CPUID cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuidError {
    /// The list from KVM has no leaf 0 or no leaf 1.
    #[error("the host's KVM reports no CPUID leaf {leaf}")]
    MissingLeaf {
        /// The leaf.
        leaf: u32,
    },
    /// A feature of this name is not in the table.
    #[error("unknown CPU feature {name:?}{}", suggestion(*.nearest))]
    UnknownFeature {
        /// The name given, shortened if it is very long.
        name: String,
        /// A known name that is spelt much the same.
        nearest: Option<&'static str>,
    },
    /// Policy `require` and the host has it not.
    #[error(
        "CPU feature {name:?} is required, but this host does not have it; with policy \"optional\" it may be missing"
    )]
    MissingFeature {
        /// The feature.
        name: &'static str,
    },
    /// Policy `forbid` and the host has it.
    #[error(
        "CPU feature {name:?} is forbidden, but this host has it; with policy \"disable\" it is hidden from the guest"
    )]
    ForbiddenFeature {
        /// The feature.
        name: &'static str,
    },
    /// KVM does not have an enlightenment of Hyper-V.
    #[error(
        "this host's KVM cannot do what spec.domain.{field} asks for: switch it off, or use a newer kernel"
    )]
    MissingEnlightenment {
        /// Where the manifest has it, below `spec.domain`.
        field: &'static str,
    },
    /// The model is another maker's than the host.
    #[error(
        "CPU model {model} is {wanted}'s, and this host is {host}'s: use host-model, or a model of the host's maker"
    )]
    OtherVendor {
        /// The model.
        model: &'static str,
        /// Whose it is.
        wanted: &'static str,
        /// Whose the host is.
        host: &'static str,
    },
    /// The host lacks features of the model.
    #[error(
        "this host lacks features of CPU model {model}: {missing}; `kubevmm cpu models` lists those that it can run, and a \
         feature with policy \"disable\" need not be there"
    )]
    MissingOfModel {
        /// The model.
        model: &'static str,
        /// Features, parted by commas.
        missing: String,
    },
}

fn suggestion(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean {name:?}?"))
}

/// Maker of the processor, as far as CPUID differs by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vendor {
    Intel,
    /// AMD, and Hygon, which follows it.
    Amd,
    Other,
}

impl Vendor {
    fn of(leaves: &Leaves) -> Self {
        let Some(leaf) = leaves.get(0, 0) else { return Self::Other };
        let mut name = [0; 12];
        for (place, value) in name.chunks_exact_mut(4).zip([leaf.ebx, leaf.edx, leaf.ecx]) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        match &name {
            b"GenuineIntel" => Self::Intel,
            b"AuthenticAMD" | b"HygonGenuine" => Self::Amd,
            _ => Self::Other,
        }
    }

    /// As CPUID has it.
    fn name(self) -> &'static str {
        match self {
            Self::Intel => "GenuineIntel",
            Self::Amd => "AuthenticAMD",
            Self::Other => "another maker",
        }
    }
}

/// A machine's CPUID, complete but for the APIC ids.
#[derive(Debug, Clone)]
pub struct CpuidTemplate {
    entries: Vec<kvm_cpuid_entry2>,
    topology: Topology,
}

impl CpuidTemplate {
    /// Makes the CPUID of a machine out of `supported`, the answer of `KVM_GET_SUPPORTED_CPUID`.
    ///
    /// # Errors
    /// A feature policy cannot be met or names an unknown feature, or the list is not a processor's.
    pub fn new(supported: &[kvm_cpuid_entry2], config: &CpuidConfig) -> Result<Self, CpuidError> {
        let mut leaves = Leaves::new(supported);
        for leaf in [0, 1] {
            leaves.get(leaf, 0).ok_or(CpuidError::MissingLeaf { leaf })?;
        }
        let vendor = Vendor::of(&leaves);
        add_emulated(&mut leaves, vendor, config);
        let host = leaves.clone();
        let unknown = match config.model {
            CpuModel::HostPassthrough => xsave::Unknown::Kept,
            CpuModel::HostModel => {
                drop_unmigratable(&mut leaves);
                xsave::Unknown::Kept
            }
            CpuModel::Named(model) => {
                model.apply(&mut leaves, &config.features)?;
                add_machines_own(&mut leaves, vendor, config);
                xsave::Unknown::Hidden
            }
        };
        features::apply(&mut leaves, &host, &config.features)?;
        xsave::describe(&mut leaves, unknown);
        topology::describe(&mut leaves, vendor, &config.topology);
        hypervisor::describe(&mut leaves, vendor, config);
        Ok(Self { entries: leaves.into_vec(), topology: config.topology })
    }

    /// The entries for vCPU `index`, for `KVM_SET_CPUID2`.
    #[must_use]
    pub fn for_vcpu(&self, index: u32) -> Vec<kvm_cpuid_entry2> {
        let mut entries = self.entries.clone();
        for entry in &mut entries {
            topology::set_apic_id(entry, &self.topology, index);
        }
        entries
    }

    /// Physical address bits the guest sees (leaf 0x80000008), 36 where there is no such leaf.
    #[must_use]
    pub fn phys_bits(&self) -> u8 {
        phys_bits(&self.entries)
    }
}

/// Physical address bits in the answer of `KVM_GET_SUPPORTED_CPUID` (leaf 0x80000008), 36 where there is no such leaf.
#[must_use]
pub fn phys_bits(supported: &[kvm_cpuid_entry2]) -> u8 {
    let leaf = supported.iter().find(|entry| entry.function == 0x8000_0008);
    let [bits, ..] = leaf.map_or(36, |leaf| leaf.eax).to_le_bytes();
    bits
}

/// Sets what KVM, or the leaves written here, provide whatever the processor is.
fn add_emulated(leaves: &mut Leaves, vendor: Vendor, config: &CpuidConfig) {
    if config.tsc_deadline_timer {
        leaves.at(1, 0).ecx |= TSC_DEADLINE;
    }
    add_machines_own(leaves, vendor, config);
}

/// Sets what belongs to the machine, not to the processor.
fn add_machines_own(leaves: &mut Leaves, vendor: Vendor, config: &CpuidConfig) {
    leaves.at(1, 0).ecx |= X2APIC | HYPERVISOR;
    if config.msi_ext_dest_id {
        hypervisor::allow_msi_ext_dest_id(leaves);
    }
    if vendor == Vendor::Amd && config.topology.threads() > 1 {
        topology::allow_topology_extensions(leaves);
    }
}

fn drop_unmigratable(leaves: &mut Leaves) {
    if let Some(power) = leaves.get_mut(0x8000_0007, 0) {
        power.edx &= !INVARIANT_TSC;
    }
    if let Some(counters) = leaves.get_mut(0xA, 0) {
        (counters.eax, counters.ebx, counters.ecx, counters.edx) = (0, 0, 0, 0);
    }
}

/// Whether `reg` of the leaf has all bits of `mask`.
fn has(leaves: &Leaves, function: u32, index: u32, register: Reg, mask: u32) -> bool {
    leaves.value(function, index, register) & mask == mask
}
