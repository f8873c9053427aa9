//! The side that has the machine at first.

use crate::migration::wire::Fate;

/// What of the machine's memory goes before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Memory {
    /// All of it.
    #[default]
    Before,
    /// A part; the rest follows the machine, which runs there before it has come.
    Behind,
}

/// Where the source stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Source {
    /// Memory is copied; the guest runs.
    #[default]
    Copying,
    /// The guest stands still, and all of it is on its way that goes before it.
    Standing(Memory),
    /// The destination is ready; that the machine is handed over is being written down.
    Recording(Memory),
    /// `Go` was, or may have been, sent: the machine is not the source's to run.
    HandedOver(Memory),
    /// The destination runs the machine, and has not all of its memory. This one never runs it again, and keeps the memory until
    /// it is needed no more.
    Serving,
    /// The destination runs the machine, and needs nothing more. This one never runs it again.
    Gone,
    /// The machine has stayed, or is back.
    Kept,
}

/// What happens at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceEvent {
    /// The guest is to stop: what is left to copy fits into the downtime, or is to follow the machine.
    Converged(Memory),
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
    /// The destination has all memory.
    Served,
    /// The connection is gone.
    Lost,
    /// Somebody wants the migration to end, or something at the source went wrong.
    Cancel,
    /// The destination was asked, on another connection, what became of the machine.
    Told(Fate),
    /// The destination's process is gone, and it is proven that it has not run the machine.
    NeverRan,
}

/// What the source does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceOrder {
    /// Nothing.
    Nothing,
    /// Stop the guest; send what is left, or have it served.
    StopGuest(Memory),
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
    /// Serve the memory that the destination lacks, on new connections if need be, until it has all.
    Serve,
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
            (Self::Copying, E::Converged(memory)) => (Self::Standing(memory), O::StopGuest(memory)),
            (Self::Standing(memory), E::PeerReady) => (Self::Recording(memory), O::Record),
            (Self::Recording(memory), E::Recorded) => (Self::HandedOver(memory), O::HandOver),
            // The destination has not been told to go, and without that it does not.
            (Self::Copying | Self::Standing(_) | Self::Recording(_), E::Lost | E::PeerFailed | E::Cancel)
            | (Self::Recording(_), E::NotRecorded) => (Self::Kept, O::GoOn),
            (Self::HandedOver(Memory::Before), E::PeerRunning | E::Told(Fate::Runs)) => (Self::Gone, O::End),
            (Self::HandedOver(Memory::Behind), E::PeerRunning | E::Told(Fate::Runs)) => {
                (Self::Serving, O::Serve)
            }
            // It has not run, so that the memory here is the machine's still.
            (Self::HandedOver(_), E::PeerFailed | E::Told(Fate::Never) | E::NeverRan) => {
                (Self::Kept, O::TakeBack)
            }
            (Self::HandedOver(_), E::Lost | E::Told(Fate::Open)) => (self, O::Ask),
            (Self::Serving, E::Served) => (Self::Gone, O::End),
            // Nobody can take back a machine that has run elsewhere: its memory here is old.
            (Self::HandedOver(_) | Self::Serving | Self::Gone, E::Cancel) => (self, O::Refuse),
            _ => (self, O::Nothing),
        }
    }

    /// Whether the guest may run here.
    pub fn may_run(self) -> bool {
        matches!(self, Self::Copying | Self::Kept)
    }

    /// Whether the memory of the machine is still here for those who need it.
    pub fn has_memory(self) -> bool {
        !matches!(self, Self::Gone)
    }

    /// Whether this side holds the disks.
    pub fn has_disks(self) -> bool {
        !matches!(self, Self::HandedOver(_) | Self::Serving | Self::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::{Source as S, SourceEvent as E, SourceOrder as O, *};

    const ALL: [E; 14] = [
        E::Converged(Memory::Before),
        E::Converged(Memory::Behind),
        E::PeerReady,
        E::Recorded,
        E::NotRecorded,
        E::PeerRunning,
        E::PeerFailed,
        E::Served,
        E::Lost,
        E::Cancel,
        E::Told(Fate::Runs),
        E::Told(Fate::Never),
        E::Told(Fate::Open),
        E::NeverRan,
    ];

    /// What is the same wherever the memory is.
    fn table(memory: Memory) -> [(S, E, S, O); 23] {
        let (standing, recording, handed) =
            (S::Standing(memory), S::Recording(memory), S::HandedOver(memory));
        let (runs, then) = match memory {
            Memory::Before => (S::Gone, O::End),
            Memory::Behind => (S::Serving, O::Serve),
        };
        [
            (S::Copying, E::Converged(memory), standing, O::StopGuest(memory)),
            (S::Copying, E::PeerFailed, S::Kept, O::GoOn),
            (S::Copying, E::Lost, S::Kept, O::GoOn),
            (S::Copying, E::Cancel, S::Kept, O::GoOn),
            (standing, E::PeerReady, recording, O::Record),
            (standing, E::PeerFailed, S::Kept, O::GoOn),
            (standing, E::Lost, S::Kept, O::GoOn),
            (standing, E::Cancel, S::Kept, O::GoOn),
            (recording, E::Recorded, handed, O::HandOver),
            (recording, E::NotRecorded, S::Kept, O::GoOn),
            (recording, E::PeerFailed, S::Kept, O::GoOn),
            (recording, E::Lost, S::Kept, O::GoOn),
            (recording, E::Cancel, S::Kept, O::GoOn),
            (handed, E::PeerRunning, runs, then),
            (handed, E::PeerFailed, S::Kept, O::TakeBack),
            (handed, E::Lost, handed, O::Ask),
            (handed, E::Cancel, handed, O::Refuse),
            (handed, E::Told(Fate::Runs), runs, then),
            (handed, E::Told(Fate::Never), S::Kept, O::TakeBack),
            (handed, E::Told(Fate::Open), handed, O::Ask),
            (handed, E::NeverRan, S::Kept, O::TakeBack),
            (S::Serving, E::Cancel, S::Serving, O::Refuse),
            (S::Gone, E::Cancel, S::Gone, O::Refuse),
        ]
    }

    #[test]
    fn all_that_changes_something_is_in_this_table() {
        let both = [Memory::Before, Memory::Behind];
        let served = (S::Serving, E::Served, S::Gone, O::End);
        let rows: Vec<_> = both.into_iter().flat_map(table).chain([served]).collect();
        let with = both
            .into_iter()
            .flat_map(|memory| [S::Standing(memory), S::Recording(memory), S::HandedOver(memory)]);
        for state in with.chain([S::Copying, S::Serving, S::Gone, S::Kept]) {
            for event in ALL {
                let row = rows.iter().find(|row| (row.0, row.1) == (state, event));
                let expected = row.map_or((state, O::Nothing), |row| (row.2, row.3));
                assert_eq!(state.on(event), expected, "{state:?} {event:?}");
            }
        }
    }
}
