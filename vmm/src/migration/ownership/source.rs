//! The side that has the machine at first.

use crate::migration::wire::Fate;

/// Where the source stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Source {
    /// Memory is copied; the guest runs.
    #[default]
    Copying,
    /// The guest stands still, and all of it is on its way.
    Standing,
    /// The destination is ready; that the machine is handed over is being written down.
    Recording,
    /// `Go` was, or may have been, sent: the machine is not the source's to run.
    HandedOver,
    /// The destination runs the machine. This one never does again.
    Gone,
    /// The machine has stayed, or is back.
    Kept,
}

/// What happens at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceEvent {
    /// What is left to copy fits into the downtime.
    Converged,
    /// The destination could run the machine at once.
    PeerReady,
    /// It was written down that the machine is handed over.
    Recorded,
    /// It could not be written down.
    NotRecorded,
    /// The destination runs the machine.
    PeerRunning,
    /// The destination has given up, and will not run the machine.
    PeerFailed,
    /// The connection is gone.
    Lost,
    /// Somebody wants the migration to end, or something at the source went wrong.
    Cancel,
    /// The destination was asked, on another connection, what became of the machine.
    Told(Fate),
}

/// What the source does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceOrder {
    /// Nothing.
    Nothing,
    /// Stop the guest; send what is left.
    StopGuest,
    /// Write down that the machine is handed over.
    Record,
    /// Give the disks up and say `Go`.
    HandOver,
    /// Let the guest go on; the migration has failed.
    GoOn,
    /// Take the disks back first, then let the guest go on.
    TakeBack,
    /// Ask the destination, until it answers.
    Ask,
    /// Say that it is too late.
    Refuse,
    /// End: the machine lives elsewhere.
    End,
}

impl Source {
    /// What follows.
    #[must_use]
    pub fn on(self, event: SourceEvent) -> (Self, SourceOrder) {
        use {SourceEvent as E, SourceOrder as O};
        match (self, event) {
            (Self::Copying, E::Converged) => (Self::Standing, O::StopGuest),
            (Self::Standing, E::PeerReady) => (Self::Recording, O::Record),
            (Self::Recording, E::Recorded) => (Self::HandedOver, O::HandOver),
            // The destination has not been told to go, and without that it does not.
            (Self::Copying | Self::Standing | Self::Recording, E::Lost | E::PeerFailed | E::Cancel)
            | (Self::Recording, E::NotRecorded) => (Self::Kept, O::GoOn),
            (Self::HandedOver, E::PeerRunning | E::Told(Fate::Runs)) => (Self::Gone, O::End),
            (Self::HandedOver, E::PeerFailed | E::Told(Fate::Never)) => (Self::Kept, O::TakeBack),
            (Self::HandedOver, E::Lost | E::Told(Fate::Open)) => (Self::HandedOver, O::Ask),
            (Self::HandedOver | Self::Gone, E::Cancel) => (self, O::Refuse),
            _ => (self, O::Nothing),
        }
    }

    /// Whether the guest may run here.
    pub fn may_run(self) -> bool {
        matches!(self, Self::Copying | Self::Kept)
    }

    /// Whether this side holds the disks.
    pub fn has_disks(self) -> bool {
        !matches!(self, Self::HandedOver | Self::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::{Source as S, SourceEvent as E, SourceOrder as O, *};

    const ALL: [E; 11] = [
        E::Converged,
        E::PeerReady,
        E::Recorded,
        E::NotRecorded,
        E::PeerRunning,
        E::PeerFailed,
        E::Lost,
        E::Cancel,
        E::Told(Fate::Runs),
        E::Told(Fate::Never),
        E::Told(Fate::Open),
    ];

    #[test]
    fn all_that_changes_something_is_in_this_table() {
        let table = [
            (S::Copying, E::Converged, S::Standing, O::StopGuest),
            (S::Copying, E::PeerFailed, S::Kept, O::GoOn),
            (S::Copying, E::Lost, S::Kept, O::GoOn),
            (S::Copying, E::Cancel, S::Kept, O::GoOn),
            (S::Standing, E::PeerReady, S::Recording, O::Record),
            (S::Standing, E::PeerFailed, S::Kept, O::GoOn),
            (S::Standing, E::Lost, S::Kept, O::GoOn),
            (S::Standing, E::Cancel, S::Kept, O::GoOn),
            (S::Recording, E::Recorded, S::HandedOver, O::HandOver),
            (S::Recording, E::NotRecorded, S::Kept, O::GoOn),
            (S::Recording, E::PeerFailed, S::Kept, O::GoOn),
            (S::Recording, E::Lost, S::Kept, O::GoOn),
            (S::Recording, E::Cancel, S::Kept, O::GoOn),
            (S::HandedOver, E::PeerRunning, S::Gone, O::End),
            (S::HandedOver, E::PeerFailed, S::Kept, O::TakeBack),
            (S::HandedOver, E::Lost, S::HandedOver, O::Ask),
            (S::HandedOver, E::Cancel, S::HandedOver, O::Refuse),
            (S::HandedOver, E::Told(Fate::Runs), S::Gone, O::End),
            (S::HandedOver, E::Told(Fate::Never), S::Kept, O::TakeBack),
            (S::HandedOver, E::Told(Fate::Open), S::HandedOver, O::Ask),
            (S::Gone, E::Cancel, S::Gone, O::Refuse),
        ];
        for state in [S::Copying, S::Standing, S::Recording, S::HandedOver, S::Gone, S::Kept] {
            for event in ALL {
                let row = table.iter().find(|row| (row.0, row.1) == (state, event));
                let expected = row.map_or((state, O::Nothing), |row| (row.2, row.3));
                assert_eq!(state.on(event), expected, "{state:?} {event:?}");
            }
        }
    }
}
