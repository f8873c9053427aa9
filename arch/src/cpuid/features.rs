//! Feature names and the policies that a manifest gives them.

use serde::{Deserialize, Serialize};

use super::feature_table::{ALIASES, FEATURES, Feature};
use super::leaves::{Leaves, reg};
use super::{CpuidError, has};

/// Longest name worth comparing with the table; longer ones are nobody's feature.
const MAX_NAME: usize = 40;

/// What a manifest wants of a feature (KubeVirt `cpu.features[].policy`, as libvirt means it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeaturePolicy {
    /// The guest sees it, whether the host has it or not.
    Force,
    /// The guest sees it; without it on the host the machine does not start.
    Require,
    /// The guest sees it if the host has it.
    Optional,
    /// The guest does not see it.
    Disable,
    /// With it on the host the machine does not start.
    Forbid,
}

/// All feature names, in the table's order, without the alternative spellings.
pub fn feature_names() -> impl Iterator<Item = &'static str> {
    FEATURES.iter().map(|feature| feature.name)
}

/// Whether a policy for `name` would be understood.
#[must_use]
pub fn is_known_feature(name: &str) -> bool {
    find(name).is_ok()
}

/// Applies the policies in order. `host` is what the guest could have.
pub(super) fn apply(
    leaves: &mut Leaves,
    host: &Leaves,
    policies: &[(String, FeaturePolicy)],
) -> Result<(), CpuidError> {
    for (name, policy) in policies {
        let feature = find(name)?;
        let on_host = has(host, feature.leaf, feature.index, feature.reg, feature.mask);
        match policy {
            FeaturePolicy::Force => set(leaves, feature),
            FeaturePolicy::Require if on_host => set(leaves, feature),
            FeaturePolicy::Require => return Err(CpuidError::MissingFeature { name: feature.name }),
            FeaturePolicy::Optional if on_host => set(leaves, feature),
            FeaturePolicy::Forbid if on_host => {
                return Err(CpuidError::ForbiddenFeature { name: feature.name });
            }
            FeaturePolicy::Optional | FeaturePolicy::Disable | FeaturePolicy::Forbid => {
                clear(leaves, feature)
            }
        }
    }
    Ok(())
}

fn set(leaves: &mut Leaves, feature: &Feature) {
    *reg(leaves.at(feature.leaf, feature.index), feature.reg) |= feature.mask;
    leaves.announce(feature.leaf);
    if feature.leaf == 7 {
        let first = leaves.at(7, 0);
        first.eax = first.eax.max(feature.index);
    }
}

fn clear(leaves: &mut Leaves, feature: &Feature) {
    if let Some(entry) = leaves.get_mut(feature.leaf, feature.index) {
        *reg(entry, feature.reg) &= !feature.mask;
    }
}

/// The feature called `name` by QEMU or libvirt: lower or upper case, with `-`, `_` or `.`.
pub(super) fn find(name: &str) -> Result<&'static Feature, CpuidError> {
    let unknown =
        |nearest| CpuidError::UnknownFeature { name: name.chars().take(MAX_NAME).collect(), nearest };
    if name.len() > MAX_NAME {
        return Err(unknown(None));
    }
    let spelt = normalised(name);
    let alias = ALIASES.iter().find(|(alias, _)| *alias == spelt);
    let wanted = alias.map_or(spelt.as_str(), |(_, canonical)| canonical);
    FEATURES.iter().find(|feature| feature.name == wanted).ok_or_else(|| unknown(nearest(&spelt)))
}

fn normalised(name: &str) -> String {
    let same = |c: char| if matches!(c, '_' | '.') { '-' } else { c.to_ascii_lowercase() };
    name.chars().map(same).collect()
}

/// The known name with the fewest edits to `name`, if it is at most a third of the name away.
fn nearest(name: &str) -> Option<&'static str> {
    let names = feature_names().chain(ALIASES.iter().map(|(alias, _)| *alias));
    let best = names.map(|known| (distance(name, known), known)).min()?;
    (best.0 <= 1.max(name.len() / 3)).then_some(best.1)
}

/// Levenshtein distance, a row at a time.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replace = diagonal + usize::from(x != y);
            diagonal = *cell;
            *cell = replace.min(*cell + 1).min(left + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_feature() {
        for name in ["sse4_1", "sse4.1", "SSE4-1"] {
            assert_eq!(find(name).unwrap().name, "sse4-1");
        }
        assert_eq!(find("xd").unwrap().name, "nx");
        assert_eq!(find("lahf_lm").unwrap().name, "lahf-lm");
    }

    #[test]
    fn unknown_names_get_a_suggestion() {
        let error = find("avx512ff").unwrap_err().to_string();
        assert_eq!(error, r#"unknown CPU feature "avx512ff", did you mean "avx512f"?"#);
        assert!(matches!(find("frobnicate-all"), Err(CpuidError::UnknownFeature { nearest: None, .. })));
        let long = "x".repeat(100_000);
        assert!(find(&long).unwrap_err().to_string().len() < 100);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn table_has_no_doubles() {
        let mut names: Vec<_> = feature_names().chain(ALIASES.iter().map(|a| a.0)).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(ALIASES.iter().all(|(_, name)| FEATURES.iter().any(|f| f.name == *name)));
        assert!(names.iter().all(|name| normalised(name) == *name && name.len() <= MAX_NAME));
        let mut bits: Vec<_> = FEATURES.iter().map(|f| (f.leaf, f.index, f.reg as u8, f.mask)).collect();
        bits.sort_unstable();
        bits.dedup();
        assert_eq!(bits.len(), FEATURES.len());
    }
}
