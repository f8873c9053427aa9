//! The side that is to have the machine.

use crate::migration::wire::Fate;

/// Where the destination stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Memory comes in.
    #[default]
    Receiving,
    /// All has come and was put in place; it could run at once.
    Ready,
    /// It was told to go: it takes the disks and writes down that the machine is its own.
    Taking,
    /// It runs the machine.
    Running,
    /// It has not run the machine, and never will.
    Never,
}

/// What happens at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DestinationEvent {
    /// All has come, and was put in place.
    Loaded,
    /// What came cannot be put in place, or something else went wrong.
    Failed,
    /// The source has handed over.
    Go,
    /// The disks are held, and it is written down.
    Taken,
    /// They could not be had, or it could not be written down.
    NotTaken,
    /// The source has given up.
    PeerFailed,
    /// The connection is gone.
    Lost,
    /// The source asks what became of the machine.
    Ask,
}

/// What the destination does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationOrder {
    /// Nothing.
    Nothing,
    /// Say that it is ready.
    SayReady,
    /// Take the disks, and write down that the machine is its own.
    Take,
    /// Run the machine, and say so.
    Run,
    /// Let everything go that belongs to the machine, then say that it will never run.
    GiveUp,
    /// Answer the source.
    Answer(Fate),
    /// The same, having let everything go first.
    GiveUpAndAnswer,
}

impl Destination {
    /// What follows.
    #[must_use]
    pub fn on(self, event: DestinationEvent) -> (Self, DestinationOrder) {
        use {DestinationEvent as E, DestinationOrder as O};
        match (self, event) {
            (Self::Receiving, E::Loaded) => (Self::Ready, O::SayReady),
            (Self::Ready, E::Go) => (Self::Taking, O::Take),
            (Self::Taking, E::Taken) => (Self::Running, O::Run),
            // From here on `Go` is of no effect, should it still come.
            (Self::Receiving | Self::Ready, E::Failed | E::PeerFailed | E::Lost) => (Self::Never, O::GiveUp),
            (Self::Taking, E::NotTaken | E::Failed) => (Self::Never, O::GiveUp),
            // Who asks has lost the connection on which `Go` could come.
            (Self::Receiving | Self::Ready, E::Ask) => (Self::Never, O::GiveUpAndAnswer),
            (Self::Taking, E::Ask) => (self, O::Answer(Fate::Open)),
            (Self::Running, E::Ask) => (self, O::Answer(Fate::Runs)),
            (Self::Never, E::Ask) => (self, O::Answer(Fate::Never)),
            // It was told to go, and goes, whatever becomes of the connection.
            _ => (self, O::Nothing),
        }
    }

    /// Whether the guest may run here.
    pub fn may_run(self) -> bool {
        self == Self::Running
    }
}

#[cfg(test)]
mod tests {
    use super::{Destination as D, DestinationEvent as E, DestinationOrder as O, *};

    #[test]
    fn all_that_changes_something_is_in_this_table() {
        let table = [
            (D::Receiving, E::Loaded, D::Ready, O::SayReady),
            (D::Receiving, E::Failed, D::Never, O::GiveUp),
            (D::Receiving, E::PeerFailed, D::Never, O::GiveUp),
            (D::Receiving, E::Lost, D::Never, O::GiveUp),
            (D::Receiving, E::Ask, D::Never, O::GiveUpAndAnswer),
            (D::Ready, E::Go, D::Taking, O::Take),
            (D::Ready, E::Failed, D::Never, O::GiveUp),
            (D::Ready, E::PeerFailed, D::Never, O::GiveUp),
            (D::Ready, E::Lost, D::Never, O::GiveUp),
            (D::Ready, E::Ask, D::Never, O::GiveUpAndAnswer),
            (D::Taking, E::Taken, D::Running, O::Run),
            (D::Taking, E::NotTaken, D::Never, O::GiveUp),
            (D::Taking, E::Failed, D::Never, O::GiveUp),
            (D::Taking, E::Ask, D::Taking, O::Answer(Fate::Open)),
            (D::Running, E::Ask, D::Running, O::Answer(Fate::Runs)),
            (D::Never, E::Ask, D::Never, O::Answer(Fate::Never)),
        ];
        let events = [E::Loaded, E::Failed, E::Go, E::Taken, E::NotTaken, E::PeerFailed, E::Lost, E::Ask];
        for state in [D::Receiving, D::Ready, D::Taking, D::Running, D::Never] {
            for event in events {
                let row = table.iter().find(|row| (row.0, row.1) == (state, event));
                let expected = row.map_or((state, O::Nothing), |row| (row.2, row.3));
                assert_eq!(state.on(event), expected, "{state:?} {event:?}");
            }
        }
    }
}
