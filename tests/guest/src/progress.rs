//! How far a guest at work has come: its program writes it, the tests outside read it.

use serde::{Deserialize, Serialize};

/// Where it is written, over and over.
pub const PROGRESS: &str = "/run/progress";
/// The work ends in order once this file is there.
pub const STOP: &str = "/run/stop";

/// Each number only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Expirations of a periodic timer.
    pub ticks: u64,
    /// Sleeps that were as long as they had to be.
    pub naps: u64,
    /// Looks at the clocks, by all processors.
    pub looks: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes that came and were the right ones.
    pub taken: u64,
    /// Files written and synced, each of which was read back.
    pub files: u64,
    /// Programs compiled and run, which said what they had to.
    pub builds: u64,
    /// `CLOCK_MONOTONIC`, in milliseconds.
    pub monotonic: u64,
    /// `CLOCK_REALTIME`, in milliseconds.
    pub realtime: u64,
    /// What went wrong first.
    pub failed: Option<String>,
    /// All has ended.
    pub over: bool,
}
