//! What can go wrong while a snapshot is taken, and when.

use std::fmt;

/// How it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// As a directory.
    Whole,
    /// As a directory that adds to another one.
    Incremental,
    /// As a stream, into a file.
    Stream,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The machine's process is killed.
    KillMachine,
    /// The command is killed.
    KillCommand,
    /// There is no more room where the snapshot is made than up to that moment.
    Full,
    /// Of a stream: there is no more room for the file that it goes to.
    FullReader,
    /// Nothing.
    Nothing,
}

/// When it does: as soon as this can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before it begins.
    Before,
    /// Memory is being written.
    Memory,
    /// The state is.
    State,
    /// The index of memory is: the guest runs again, unless it is not to.
    Index,
    /// The list of all is.
    Manifest,
    /// All is there, but for its name.
    Sums,
    /// It has its name.
    Named,
}

/// A fault at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// How.
    pub kind: Kind,
    /// What.
    pub fault: Fault,
    /// When.
    pub moment: Moment,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Whole, Self::Incremental, Self::Stream];
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::KillMachine, Self::KillCommand, Self::Full, Self::FullReader, Self::Nothing];

    fn is_at(self, kind: Kind, moment: Moment) -> bool {
        match self {
            Self::Nothing => moment == Moment::Before,
            Self::FullReader => kind == Kind::Stream && moment != Moment::Named,
            // There is nobody yet to be killed.
            Self::KillCommand => moment != Moment::Before,
            // Nothing is written any more.
            Self::Full => moment != Moment::Named,
            Self::KillMachine => true,
        }
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillMachine => "kill machine",
            Self::KillCommand => "kill command",
            Self::Full => "full",
            Self::FullReader => "full reader",
            Self::Nothing => "nothing",
        }
    }
}

impl Moment {
    /// All of them, in their order.
    pub const ALL: [Self; 7] =
        [Self::Before, Self::Memory, Self::State, Self::Index, Self::Manifest, Self::Sums, Self::Named];

    /// Files of a snapshot that are there before the one that shows this moment.
    pub fn files_before(self) -> &'static [&'static str] {
        let all = &["memory", "state.json", "machine.json", "memory.index", "snapshot.json"];
        let count = match self {
            Self::Before | Self::Memory => 0,
            Self::State => 1,
            Self::Index => 3,
            Self::Manifest => 4,
            Self::Sums | Self::Named => 5,
        };
        all.get(..count).unwrap_or_default()
    }

    /// The file of an unfinished snapshot that shows it.
    pub fn file(self) -> Option<&'static str> {
        match self {
            Self::Memory => Some("memory"),
            Self::State => Some("state.json"),
            Self::Index => Some("memory.index"),
            Self::Manifest => Some("snapshot.json"),
            Self::Sums => Some("sums"),
            Self::Before | Self::Named => None,
        }
    }
}

impl Cell {
    /// All that mean something.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            for fault in Fault::ALL {
                let moments = Moment::ALL.into_iter().filter(|moment| fault.is_at(kind, *moment));
                all.extend(moments.map(|moment| Self { kind, fault, moment }));
            }
        }
        all
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {} at {:?}", self.kind, self.fault.name(), self.moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_before_is_not_what_shows_a_moment() {
        for moment in Moment::ALL {
            let before = moment.files_before();
            assert!(moment.file().is_none_or(|file| !before.contains(&file)), "{moment:?}");
        }
    }

    #[test]
    fn every_fault_and_every_moment_has_its_turn() {
        let all = Cell::all();
        for kind in Kind::ALL {
            let of = |cell: &&Cell| cell.kind == kind;
            let faults =
                Fault::ALL.into_iter().filter(|fault| all.iter().filter(of).any(|cell| cell.fault == *fault));
            assert_eq!(faults.count(), if kind == Kind::Stream { 5 } else { 4 });
            assert!(Moment::ALL.iter().all(|at| all.iter().filter(of).any(|cell| cell.moment == *at)));
        }
    }
}
