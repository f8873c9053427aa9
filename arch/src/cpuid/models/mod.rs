//! Named processor models, so that a machine can be moved between hosts that differ.
//!
//! Names, signatures and features are those of QEMU 10.0 (`qemu-system-x86_64 -cpu help`, `query-cpu-model-expansion`), which
//! are libvirt's and so KubeVirt's (`cpu.model`). What such a model says by model-specific registers, which a
//! KVM guest gets of its host, is not part of it.

mod aliases;
mod amd;
mod any;
mod intel;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::feature_table::{FEATURES, Feature};
use super::features::find;
use super::leaves::{Leaves, reg};
use super::{CpuidError, FeaturePolicy, Vendor, has};

/// What a host need not have to run the models that name it: virtual machines within the guest are extra, and KVM
/// gives the others by itself or not at all.
const NOT_NEEDED: &[&str] = &["svm", "monitor", "acpi", "x2apic"];
/// Features from here on are of paravirtual leaves, which models say nothing about.
const PARAVIRTUAL: u32 = 0x4000_0000;
/// Leaves that tell of counters, tracing, enclaves and secrets of the host; they are not in any model.
const HOST_ONLY: &[u32] =
    &[0xA, 0xF, 0x10, 0x12, 0x14, 0x19, 0x1B, 0x23, 0x24, 0x8000_001B, 0x8000_001F, 0x8000_0022];
/// Leaves that describe matrix tiles.
const TILES: &[u32] = &[0x1D, 0x1E];

/// An entry of the tables: how it differs from another.
#[derive(Debug)]
struct Model {
    name: &'static str,
    /// Family, model and stepping.
    signature: (u32, u32, u32),
    brand: &'static str,
    /// The model whose features it has, but for those below; none if empty.
    base: &'static str,
    adds: &'static str,
    drops: &'static str,
}

const fn model(
    name: &'static str,
    signature: (u32, u32, u32),
    brand: &'static str,
    base: &'static str,
    adds: &'static str,
    drops: &'static str,
) -> Model {
    Model { name, signature, brand, base, adds, drops }
}

/// A processor that has a name.
#[derive(Clone, Copy)]
pub struct NamedModel {
    /// As it was asked for.
    name: &'static str,
    model: &'static Model,
    /// Whose processors it is like; `None` for everybody's.
    vendor: Option<Vendor>,
}

impl NamedModel {
    /// The model of this name, which may leave out the version (`Haswell` is `Haswell-v1`).
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let alias = aliases::ALIASES.iter().find(|(alias, _)| *alias == name);
        let (name, full) = alias.map_or((None, name), |(alias, full)| (Some(*alias), *full));
        let (model, vendor) = tables().find(|(model, _)| model.name == full)?;
        Some(Self { name: name.unwrap_or(model.name), model, vendor })
    }

    /// All models by their usual names, makers one after the other, the oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        tables().map(|(model, vendor)| {
            let alias = aliases::ALIASES.iter().find(|(_, full)| *full == model.name);
            Self { name: alias.map_or(model.name, |(alias, _)| alias), model, vendor }
        })
    }

    /// Its name, as it was asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Its maker's name as CPUID has it; `None` if it stands for everybody's.
    #[must_use]
    pub fn vendor(self) -> Option<&'static str> {
        self.vendor.map(Vendor::name)
    }

    /// Names of its features, in the table's order.
    #[must_use]
    pub fn features(self) -> Vec<&'static str> {
        FEATURES.iter().filter(|feature| self.has(feature.name)).map(|feature| feature.name).collect()
    }

    /// Features that a host has to have to run it.
    pub(super) fn needs(self) -> impl Iterator<Item = &'static Feature> {
        FEATURES.iter().filter(move |feature| self.has(feature.name) && !NOT_NEEDED.contains(&feature.name))
    }

    /// Follows the chain of models to the first that says something about the feature.
    fn has(self, feature: &str) -> bool {
        let mut model = Some(self.model);
        while let Some(at) = model {
            if names(at.adds, feature) {
                return true;
            }
            if names(at.drops, feature) {
                return false;
            }
            model = tables().map(|(model, _)| model).find(|base| base.name == at.base);
        }
        false
    }

    /// Leaf 1 EAX.
    fn signature(self) -> u32 {
        let (family, model, stepping) = self.model.signature;
        let extended = family.saturating_sub(0xF);
        extended << 20 | (model >> 4) << 16 | family.min(0xF) << 8 | (model & 0xF) << 4 | stepping
    }

    /// Whether processors of this maker can stand for it.
    pub(super) fn is_of(self, vendor: Vendor) -> bool {
        self.vendor.is_none_or(|own| own == vendor)
    }

    /// Hides from the guest what is not in the model. `policies` may do without features that the host lacks.
    pub(super) fn apply(
        self,
        leaves: &mut Leaves,
        policies: &[(String, FeaturePolicy)],
    ) -> Result<(), CpuidError> {
        let vendor = Vendor::of(leaves);
        if !self.is_of(vendor) {
            let wanted = self.vendor().unwrap_or_default();
            return Err(CpuidError::OtherVendor { model: self.name, wanted, host: vendor.name() });
        }
        let missing: Vec<_> = self
            .needs()
            .filter(|feature| !has(leaves, feature.leaf, feature.index, feature.reg, feature.mask))
            .filter(|feature| !is_waived(feature.name, policies))
            .map(|feature| feature.name)
            .collect();
        if !missing.is_empty() {
            return Err(CpuidError::MissingOfModel { model: self.name, missing: missing.join(", ") });
        }
        self.mask(leaves);
        let tiles = self.has("amx-tile");
        for function in HOST_ONLY.iter().chain(TILES.iter().filter(|_| !tiles)) {
            for entry in leaves.subleaves_mut(*function) {
                (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0);
            }
        }
        self.introduce(leaves);
        Ok(())
    }

    /// Leaves of each register of features only those that the model has.
    fn mask(self, leaves: &mut Leaves) {
        for (at, feature) in FEATURES.iter().enumerate() {
            let place = |other: &Feature| {
                other.leaf == feature.leaf && other.index == feature.index && other.reg == feature.reg
            };
            let seen = FEATURES.iter().take(at).any(place);
            if seen || (PARAVIRTUAL..PARAVIRTUAL + 0x1000_0000).contains(&feature.leaf) {
                continue;
            }
            let kept = FEATURES.iter().filter(|other| place(other) && self.has(other.name));
            let mask = kept.fold(0, |mask, feature| mask | feature.mask);
            if let Some(entry) = leaves.get_mut(feature.leaf, feature.index) {
                *reg(entry, feature.reg) &= mask;
            }
        }
    }

    /// Writes its signature and its brand string.
    fn introduce(self, leaves: &mut Leaves) {
        leaves.at(1, 0).eax = self.signature();
        let mut brand = [0; 48];
        for (place, byte) in brand.iter_mut().zip(self.model.brand.bytes()) {
            *place = byte;
        }
        let mut words = brand.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        for function in 0x8000_0002..=0x8000_0004 {
            let entry = leaves.at(function, 0);
            for register in [&mut entry.eax, &mut entry.ebx, &mut entry.ecx, &mut entry.edx] {
                *register = words.next().unwrap_or_default();
            }
        }
        leaves.announce(0x8000_0004);
    }
}

/// All tables, with whose processors are in them.
fn tables() -> impl Iterator<Item = (&'static Model, Option<Vendor>)> {
    let with = |vendor| move |model| (model, vendor);
    let any = any::MODELS.iter().map(with(None));
    let intel = intel::MODELS.iter().map(with(Some(Vendor::Intel)));
    any.chain(intel).chain(amd::MODELS.iter().map(with(Some(Vendor::Amd))))
}

fn names(list: &str, feature: &str) -> bool {
    list.split(' ').any(|name| name == feature)
}

/// Whether the manifest says that the guest can do without the feature. The last word counts.
fn is_waived(name: &str, policies: &[(String, FeaturePolicy)]) -> bool {
    let spoken = policies.iter().rev().find(|(policy, _)| find(policy).is_ok_and(|found| found.name == name));
    spoken.is_some_and(|(_, policy)| {
        matches!(
            policy,
            FeaturePolicy::Disable | FeaturePolicy::Optional | FeaturePolicy::Forbid | FeaturePolicy::Force
        )
    })
}

impl PartialEq for NamedModel {
    fn eq(&self, other: &Self) -> bool {
        self.model.name == other.model.name
    }
}

impl Eq for NamedModel {}

impl fmt::Debug for NamedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for NamedModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for NamedModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::find(&name)
            .ok_or_else(|| serde::de::Error::custom(format!("there is no processor model called {name:?}")))
    }
}
