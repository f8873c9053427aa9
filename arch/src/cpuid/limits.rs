//! What a processor is besides its features: sizes, rates, registers that tell of features, and bits that have no name here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::feature_table::FEATURES;
use super::leaves::{Leaves, Reg};

/// Leaf of the parts of a processor's state that XSAVE keeps.
const XSAVE: u32 = 0xD;
/// Parts that every processor with XSAVE has, in one place.
const LEGACY_PARTS: u32 = 2;

/// A part of the processor's state that XSAVE keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XsavePart {
    /// Its bytes.
    pub size: u32,
    /// Where it is.
    pub offset: u32,
}

/// What there is of a processor besides its features. What is not known is zero, or not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Physical address bits.
    pub physical_bits: u8,
    /// Parts of its state beyond the first two, by their numbers.
    pub xsave: BTreeMap<u32, XsavePart>,
    /// Bits of words with features that have no name here, by leaf, subleaf and register.
    pub unnamed: BTreeMap<String, u32>,
    /// Rate of its time stamp counter in kHz.
    pub tsc_khz: u32,
    /// Guests can have counters of another rate.
    pub scales_tsc: bool,
    /// Model specific registers that tell of features, by their numbers.
    pub registers: BTreeMap<u32, u64>,
}

impl Limits {
    /// Those that CPUID tells.
    pub(super) fn new(leaves: &Leaves, physical_bits: u8) -> Self {
        Self { physical_bits, xsave: xsave(leaves), unnamed: unnamed(leaves), ..Self::default() }
    }
}

fn xsave(leaves: &Leaves) -> BTreeMap<u32, XsavePart> {
    let half = |index, register| u64::from(leaves.value(XSAVE, index, register));
    let user = half(0, Reg::Edx) << 32 | half(0, Reg::Eax);
    let supervisor = half(1, Reg::Edx) << 32 | half(1, Reg::Ecx);
    let parts = (LEGACY_PARTS..63).filter(|part| (user | supervisor) >> part & 1 == 1);
    let part = |part| XsavePart {
        size: leaves.value(XSAVE, part, Reg::Eax),
        offset: leaves.value(XSAVE, part, Reg::Ebx),
    };
    parts.map(|number| (number, part(number))).collect()
}

fn unnamed(leaves: &Leaves) -> BTreeMap<String, u32> {
    let mut bits = BTreeMap::new();
    for word in FEATURES {
        let place = format!("{:#x}.{} {}", word.leaf, word.index, register(word.reg));
        let rest = bits.entry(place).or_insert_with(|| leaves.value(word.leaf, word.index, word.reg));
        *rest &= !word.mask;
    }
    bits.retain(|_, rest| *rest != 0);
    bits
}

fn register(register: Reg) -> &'static str {
    match register {
        Reg::Eax => "EAX",
        Reg::Ebx => "EBX",
        Reg::Ecx => "ECX",
        Reg::Edx => "EDX",
    }
}
