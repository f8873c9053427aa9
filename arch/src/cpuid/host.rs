//! What a host's processor is, as far as a guest can have it: told to other hosts to find a model that all can run.

use kvm_bindings::kvm_cpuid_entry2;
use serde::{Deserialize, Serialize};

use super::feature_table::FEATURES;
use super::leaves::{Leaves, Reg};
use super::limits::Limits;
use super::models::NamedModel;
use super::{Vendor, has};

/// A host's processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostCpu {
    /// Its maker, as CPUID has it (`GenuineIntel`).
    pub vendor: String,
    /// Family, with the extended one.
    pub family: u32,
    /// Model, with the extended one.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// Features that its KVM can give to a guest, by QEMU's names; in no particular order.
    pub features: Vec<String>,
    /// What there is besides.
    #[serde(default)]
    pub limits: Limits,
}

impl HostCpu {
    /// The processor behind KVM's list of supported leaves (`KVM_GET_SUPPORTED_CPUID`).
    #[must_use]
    pub fn new(supported: &[kvm_cpuid_entry2]) -> Self {
        let leaves = Leaves::beside_hyperv(supported);
        let signature = leaves.value(1, 0, Reg::Eax);
        let family = signature >> 8 & 0xF;
        let extended = if family == 0xF { signature >> 20 & 0xFF } else { 0 };
        let there = |feature: &&super::feature_table::Feature| {
            has(&leaves, feature.leaf, feature.index, feature.reg, feature.mask)
        };
        Self {
            vendor: Vendor::of(&leaves).name().to_owned(),
            family: family + extended,
            model: (signature >> 16 & 0xF) << 4 | (signature >> 4 & 0xF),
            stepping: signature & 0xF,
            features: FEATURES.iter().filter(there).map(|feature| feature.name.to_owned()).collect(),
            limits: Limits::new(&leaves, super::phys_bits(supported)),
        }
    }

    /// Whether it has the feature.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|own| own == feature)
    }

    /// Whether a machine of this model can run here, and why not.
    #[must_use]
    pub fn obstacle(&self, model: NamedModel) -> Option<Obstacle> {
        if model.vendor().is_some_and(|vendor| vendor != self.vendor) {
            return Some(Obstacle::Vendor(model.vendor().unwrap_or_default()));
        }
        let missing: Vec<_> =
            model.needs().filter(|feature| !self.has(feature.name)).map(|feature| feature.name).collect();
        (!missing.is_empty()).then_some(Obstacle::Missing(missing))
    }

    /// Features of a guest's processor that this one cannot give, by which those of the machine around it do not count.
    #[must_use]
    pub fn missing_for<'a>(&self, guest: &'a Self) -> Vec<&'a str> {
        let is_of_machine =
            |feature: &str| OF_MACHINE.contains(&feature) || OF_MACHINES_KVM.contains(&feature);
        let missing = self.lacks(guest).into_iter();
        missing.filter(|feature| !is_of_machine(feature)).collect()
    }

    /// Features of `other` that are not here.
    #[must_use]
    pub fn lacks<'a>(&self, other: &'a Self) -> Vec<&'a str> {
        other.features.iter().map(String::as_str).filter(|feature| !self.has(feature)).collect()
    }
}

/// Why a model cannot run on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It is another maker's: this one's.
    Vendor(&'static str),
    /// The host lacks these features.
    Missing(Vec<&'static str>),
}

/// A processor that machines can have on each of several hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// The model with the most features that all hosts can run.
    pub model: NamedModel,
    /// What all hosts have besides.
    pub besides: Vec<&'static str>,
}

impl Baseline {
    /// The richest processor that all these hosts can give; `None` if there is no such thing, or no host.
    #[must_use]
    pub fn of(hosts: &[HostCpu]) -> Option<Self> {
        let first = hosts.first()?;
        let runs = |model: &NamedModel| hosts.iter().all(|host| host.obstacle(*model).is_none());
        // Of those with as many features the later, which is the newer.
        let model = NamedModel::all().filter(runs).max_by_key(|model| model.features().len())?;
        let own = model.features();
        let common = FEATURES.iter().map(|feature| feature.name).filter(|feature| {
            first.has(feature) && hosts.iter().all(|host| host.has(feature)) && !is_of_the_machine(feature)
        });
        let besides = common.filter(|feature| !own.contains(feature)).collect();
        Some(Self { model, besides })
    }
}

/// Features that come of the machine around a processor, its topology among them.
const OF_MACHINE: [&str; 8] =
    ["hypervisor", "x2apic", "tsc-deadline", "osxsave", "ospke", "ht", "cmp-legacy", "topoext"];
/// Those of KVM's.
const OF_MACHINES_KVM: [&str; 2] = ["kvm-msi-ext-dest-id", "kvm-hint-dedicated"];

/// Whether a feature is none to be asked of a processor.
fn is_of_the_machine(feature: &str) -> bool {
    feature.starts_with("kvm") || feature == "invtsc" || OF_MACHINE.contains(&feature)
}
