//! How far a migration is, and what came of it.

use std::time::Duration;

/// What a migration is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The other side is called.
    #[default]
    Connecting,
    /// Memory is copied while the guest runs.
    Copying,
    /// The guest stands still.
    Standing,
    /// The machine is being handed over.
    HandingOver,
    /// It cannot be told whether the destination has it; it is being asked.
    Asking,
    /// The destination runs it, and gets the rest of its memory.
    Serving,
}

/// How far a migration is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it is at.
    pub phase: Phase,
    /// Rounds of copying that are over.
    pub rounds: u32,
    /// Bytes of memory in all.
    pub memory: u64,
    /// Bytes of disks that are copied, in all.
    pub disks: u64,
    /// Bytes that went over the wire.
    pub sent: u64,
    /// Bytes that are to be copied yet.
    pub left: u64,
    /// Bytes a second that the connection carries.
    pub rate: u64,
    /// Bytes a second that the guest writes.
    pub dirty_rate: u64,
    /// How long the guest would stand still if it were stopped now.
    pub downtime: Option<Duration>,
    /// Share of vCPUs' time that is taken away, in percent.
    pub throttle: u8,
}

/// What a guest stood still for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Downtime {
    /// Stopping, disks made durable, state taken.
    pub stop: Duration,
    /// The last pages sent.
    pub rest: Duration,
    /// The state sent, until all of it and of them had arrived.
    pub send: Duration,
    /// Until the destination was ready: all put in place there.
    pub load: Duration,
    /// Until it said that it runs: records, locks.
    pub hand_over: Duration,
}

impl Downtime {
    /// All of it, by the source's clock.
    pub fn total(&self) -> Duration {
        self.stop + self.rest + self.send + self.load + self.hand_over
    }
}

/// A machine has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// What it took.
    pub progress: Progress,
    /// From its stop to the news that it runs.
    pub downtime: Downtime,
    /// How long it took in all.
    pub took: Duration,
}

/// A machine has stayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Stayed {
    /// Why.
    pub message: String,
    /// Somebody wanted it so.
    pub cancelled: bool,
    /// The destination may wait to hear it, and the connection on which it was said may be gone: see [`tell_stayed`](super::tell_stayed).
    pub is_untold: bool,
}
