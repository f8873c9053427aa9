//! Files whose names say what has to be in them, written by a guest in groups, each of which is synced at its end.

use std::collections::BTreeMap;

use crate::agent::Agent;
use crate::ensure;
use crate::failure::{Failure, Outcome};

/// Where the guest has the file system.
pub(super) const MOUNT: &str = "/files";
/// Files of a group, which is a folder.
const GROUP: u64 = 48;
/// How many of them are written at a time.
const WRITERS: u64 = 4;
/// A file's number, so many times doubled at most: the largest files are of some blocks.
const DOUBLINGS: u64 = 13;

/// What was written so far.
#[derive(Default)]
pub(super) struct Load {
    groups: Vec<Group>,
}

/// Some files.
struct Group {
    /// Its own number, and that of the first file.
    first: u64,
    /// Whether the guest has said that all of it is on the disk.
    is_synced: bool,
}

/// What was found of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Synced files, all of which are there and right.
    pub(super) synced: u64,
    /// Files that were not synced and are there all the same.
    pub(super) early: u64,
    /// Such files of which the beginning is there.
    pub(super) short: u64,
    /// Such files that are not there, or empty.
    pub(super) missing: u64,
}

impl Load {
    /// Has the guest write one group after the other until it answers no more.
    pub(super) fn write_until_killed(&mut self, mut agent: Agent) {
        loop {
            let first = self.groups.last().map_or(1, |group| group.first + GROUP);
            let is_synced = agent.script(&script(first)).is_ok();
            self.groups.push(Group { first, is_synced });
            if !is_synced {
                return;
            }
        }
    }

    /// Number of files that are synced.
    pub(super) fn synced(&self) -> u64 {
        self.groups.iter().filter(|group| group.is_synced).map(|_| GROUP).sum()
    }

    /// Has the guest read all of it.
    pub(super) fn verify(&self, agent: &mut Agent) -> Result<Found, Failure> {
        let mut found = Found::default();
        for group in &self.groups {
            let first = group.first;
            // Each file is a line, after its name; status 1 means that there is none.
            let lines = agent.script(&format!(
                "cd {MOUNT} && {{ [ ! -d {first} ] || grep -r '' {first} || [ $? = 1 ]; }}"
            ))?;
            group.compare(&lines, &mut found)?;
        }
        Ok(found)
    }
}

impl Group {
    fn compare(&self, lines: &str, found: &mut Found) -> Outcome {
        let mut texts = BTreeMap::new();
        for line in lines.lines() {
            let name = line.strip_prefix(&format!("{}/", self.first)).and_then(|line| line.split_once(':'));
            let (name, text) = name.ok_or_else(|| Failure(format!("no line of a file: {line:.80}")))?;
            let number: u64 = name.parse().map_err(|_| Failure(format!("a file named {name:.80}")))?;
            ensure!(texts.insert(number, text).is_none(), "file {number} has more than a line");
        }
        for number in self.first..self.first + GROUP {
            let (text, wanted) = (texts.remove(&number).unwrap_or_default(), contents(number));
            let is_whole = text == wanted;
            if self.is_synced {
                ensure!(is_whole, "file {number} was synced and has {:?}", excerpt(text));
            }
            // A journal with ordered data shows nothing in a file but what was written to it.
            ensure!(wanted.starts_with(text), "file {number} has {:?}, never written there", excerpt(text));
            *match (self.is_synced, is_whole, text.is_empty()) {
                (true, ..) => &mut found.synced,
                (false, true, _) => &mut found.early,
                (false, false, false) => &mut found.short,
                (false, false, true) => &mut found.missing,
            } += 1;
        }
        ensure!(texts.is_empty(), "files that were never written: {:?}", texts.keys());
        Ok(())
    }
}

/// What a file holds, less the line feed at the end: its number over and over, in every block of it.
fn contents(number: u64) -> String {
    format!("{number} ").repeat(1 << (number % DOUBLINGS))
}

/// Writes a group in the guest, without a process for each file: some writers at a time, each of which syncs now and
/// then, so that the disk is busy all the time.
fn script(first: u64) -> String {
    let end = first + GROUP;
    let file = format!(
        "t=\"$i \"; n=$((i % {DOUBLINGS})); while [ $n -gt 0 ]; do t=\"$t$t\"; n=$((n - 1)); done; echo \"$t\" > $i"
    );
    format!(
        "mkdir {MOUNT}/{first} && cd {MOUNT}/{first} && for w in $(seq {first} {last}); do \
         (i=$w; while [ $i -lt {end} ]; do {file}; i=$((i + {WRITERS})); [ $((i % 16)) -ge {WRITERS} ] || sync; done) & \
         done; wait; sync",
        last = first + WRITERS - 1
    )
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(numbers: impl Iterator<Item = u64>) -> String {
        numbers.map(|number| format!("1/{number}:{}\n", contents(number))).collect()
    }

    #[test]
    fn a_lost_or_changed_file_of_a_synced_group_is_noticed() {
        let group = Group { first: 1, is_synced: true };
        let mut found = Found::default();
        group.compare(&lines(1..=GROUP), &mut found).unwrap();
        assert_eq!(found, Found { synced: GROUP, ..Found::default() });
        assert!(group.compare(&lines(2..=GROUP), &mut found).is_err());
        assert!(group.compare(&lines(1..=GROUP + 1), &mut found).is_err());
        assert!(group.compare(&lines(1..=GROUP).replace("5 5", "5 6"), &mut found).is_err());
    }

    #[test]
    fn a_group_under_way_may_be_there_in_part_but_not_be_another() {
        let group = Group { first: 1, is_synced: false };
        let mut found = Found::default();
        group.compare("1/1:1 1 \n1/2:2 2\n", &mut found).unwrap();
        assert_eq!(found, Found { early: 1, short: 1, missing: GROUP - 2, synced: 0 });
        assert!(group.compare("1/2:3 3\n", &mut found).is_err());
        assert!(group.compare("1/2:2 2\0\n", &mut found).is_err());
    }
}
