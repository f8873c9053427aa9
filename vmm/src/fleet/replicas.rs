//! Which machines of a set there ought to be.

use std::collections::BTreeSet;

/// Letters of generated names: those that Kubernetes uses, of which no words can be made.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many of them a generated name ends in.
const RANDOM: usize = 5;
/// Longest base of a generated name, so that all of it is a DNS label.
const LONGEST_BASE: usize = 63 - 1 - RANDOM;

/// One machine of a set, as far as it matters for counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// It ended and does not come back.
    pub over: bool,
    /// It runs.
    pub up: bool,
    /// When it was made, in any unit that grows.
    pub made: u64,
}

/// What has to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// How many machines are to be made.
    pub more: usize,
    /// Names of those that are to go.
    pub fewer: Vec<String>,
}

/// What has to change so that `wanted` machines of a set are there. Those that ended go; of the others the ones that do not
/// run go first, then the youngest.
pub fn balance(wanted: usize, there: &[Replica]) -> Change {
    let (over, mut alive): (Vec<&Replica>, Vec<&Replica>) = there.iter().partition(|replica| replica.over);
    let mut fewer: Vec<String> = over.iter().map(|replica| replica.name.clone()).collect();
    alive.sort_by_key(|replica| (!replica.up, replica.made));
    let more = wanted.saturating_sub(alive.len());
    fewer.extend(alive.iter().skip(wanted).map(|replica| replica.name.clone()));
    Change { more, fewer }
}

/// A name for a machine of a replica set: its template's or the set's own, and five letters by chance.
pub fn name(base: &str, mut chance: u64, taken: &BTreeSet<String>) -> String {
    let base: String = base.chars().take(LONGEST_BASE).collect();
    loop {
        let mut rest = chance;
        let mut name = format!("{}-", base.trim_end_matches('-'));
        for _ in 0..RANDOM {
            let count = LETTERS.len() as u64;
            let letter = usize::try_from(rest % count).ok().and_then(|at| LETTERS.get(at));
            name.push(letter.copied().map_or('x', char::from));
            rest /= count;
        }
        if !taken.contains(&name) {
            return name;
        }
        chance = chance.wrapping_add(1);
    }
}

/// Names of the machines of a pool that are missing: the lowest numbers that are free.
pub fn numbered<'a>(base: &'a str, taken: &'a BTreeSet<String>) -> impl Iterator<Item = String> + 'a {
    (0u64..).map(move |number| format!("{base}-{number}")).filter(|name| !taken.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(name: &str, up: bool, made: u64) -> Replica {
        Replica { name: name.into(), over: false, up, made }
    }

    #[test]
    fn a_set_grows_and_shrinks() {
        let there = [replica("old", true, 1), replica("young", true, 3), replica("down", false, 2)];
        assert_eq!(balance(5, &there), Change { more: 2, fewer: vec![] });
        assert_eq!(balance(3, &there), Change::default());
        assert_eq!(balance(2, &there).fewer, ["down"]);
        assert_eq!(balance(1, &there).fewer, ["young", "down"]);
        assert_eq!(balance(0, &there).fewer.len(), 3);
    }

    #[test]
    fn one_that_ended_is_replaced() {
        let there = [replica("a", true, 1), Replica { over: true, ..replica("b", false, 2) }];
        assert_eq!(balance(2, &there), Change { more: 1, fewer: vec!["b".into()] });
        assert_eq!(balance(1, &there), Change { more: 0, fewer: vec!["b".into()] });
    }

    #[test]
    fn names_are_labels_and_new() {
        let mut taken = BTreeSet::new();
        for chance in 0..100 {
            let name = name("web", chance % 10, &taken);
            assert!(name.starts_with("web-") && name.len() == 9, "{name}");
            assert!(taken.insert(name));
        }
        assert!(name(&"long".repeat(30), 7, &taken).len() <= 63);
        let taken = ["pool-0", "pool-2"].map(String::from).into();
        assert_eq!(numbered("pool", &taken).take(2).collect::<Vec<_>>(), ["pool-1", "pool-3"]);
    }
}
