//! The cases, by subject. To add one, write a function and name it in its file's list.

use crate::case::Case;

mod host;

/// Every case of both tiers.
#[must_use]
pub fn all() -> Vec<Case> {
    [crate::payload::CASES, host::CASES].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let all = super::all();
        let names: BTreeSet<_> = all.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), all.len());
    }
}
