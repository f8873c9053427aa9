//! What can go wrong in a migration.

use std::fmt;

use super::phase::Phase;
use super::way::Way;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The source's process is killed.
    KillSource,
    /// The destination's process is killed.
    KillDestination,
    /// The connection breaks; another one can be made.
    Cut,
    /// The connection breaks, and no other can be made.
    CutForGood,
    /// A bit is turned over on its way.
    Alter,
    /// Nothing arrives any more, and the connection stays.
    Stall,
    /// The file system of the source's runtime directory is full.
    FullSource,
    /// The file system of the destination's runtime directory is full, or that of the disk that is copied to it.
    FullDestination,
    /// The peer speaks a version that there is not.
    OtherVersion,
    /// Somebody else is there, with a certificate that nobody trusts; later, the connection breaks first.
    WrongCertificate,
    /// Somebody cancels.
    Cancel,
    /// Nothing: the machine moves.
    Nothing,
}

/// A fault at a phase, before its message or behind it, of a move of some way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// How.
    pub way: Way,
    /// What.
    pub fault: Fault,
    /// When.
    pub phase: Phase,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::KillSource,
        Self::KillDestination,
        Self::Cut,
        Self::CutForGood,
        Self::Alter,
        Self::Stall,
        Self::FullSource,
        Self::FullDestination,
        Self::OtherVersion,
        Self::WrongCertificate,
        Self::Cancel,
        Self::Nothing,
    ];

    /// Whether it means something at `phase` of moves of this way.
    fn is_at(self, way: Way, phase: Phase) -> bool {
        match self {
            Self::WrongCertificate => way.is_encrypted(),
            // Nothing has passed yet.
            _ if phase == Phase::Call => false,
            Self::OtherVersion => matches!(phase, Phase::Hello | Phase::Welcome),
            Self::Nothing => Some(phase) == way.phases().find(|phase| *phase != Phase::Call),
            // What is full later was needed before.
            Self::FullSource | Self::FullDestination => !phase.needs_no_room(),
            _ => true,
        }
    }

    /// Whether the source may be left without an answer to what became of the machine.
    pub fn leaves_doubt(self) -> bool {
        matches!(self, Self::KillDestination | Self::CutForGood)
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillSource => "kill source",
            Self::KillDestination => "kill destination",
            Self::Cut => "cut",
            Self::CutForGood => "cut for good",
            Self::Alter => "alter",
            Self::Stall => "stall",
            Self::FullSource => "full source",
            Self::FullDestination => "full destination",
            Self::OtherVersion => "other version",
            Self::WrongCertificate => "wrong certificate",
            Self::Cancel => "cancel",
            Self::Nothing => "nothing",
        }
    }
}

impl Cell {
    /// All of these ways that mean something.
    pub fn all(ways: &[Way]) -> Vec<Self> {
        let of = |way: &Way| {
            let way = *way;
            Fault::ALL.into_iter().flat_map(move |fault| {
                let phases = way.phases().filter(move |phase| fault.is_at(way, *phase));
                phases.map(move |phase| Self { way, fault, phase })
            })
        };
        ways.iter().flat_map(of).collect()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} at {:?}", self.way.name(), self.fault.name(), self.phase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_and_every_phase_has_its_turn() {
        let cells = Cell::all(&Way::ALL);
        assert!(Fault::ALL.iter().all(|fault| cells.iter().any(|cell| cell.fault == *fault)));
        assert!(Phase::ALL.iter().all(|phase| cells.iter().any(|cell| cell.phase == *phase)));
        let mut once = cells.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), cells.len());
    }

    #[test]
    fn each_way_has_a_move_in_which_nothing_happens() {
        for way in Way::ALL {
            let cells = Cell::all(&[way]);
            assert_eq!(cells.iter().filter(|cell| cell.fault == Fault::Nothing).count(), 1, "{}", way.name());
            assert!(cells.iter().any(|cell| cell.phase == Phase::Go), "{}", way.name());
        }
    }
}
