//! Where in its life a machine is.

use std::fmt;

/// KubeVirt's phases of a VirtualMachineInstance. A pause is none: a machine that is paused is `Running` with the
/// condition `Paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its manifest is admitted.
    Pending,
    /// What it needs of the host is being opened.
    Scheduling,
    /// It is being built.
    Scheduled,
    /// Its guest runs, or is paused.
    Running,
    /// It ended as it should.
    Succeeded,
    /// It ended otherwise, or never ran.
    Failed,
}

impl Phase {
    /// The phase as the status has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Scheduling => "Scheduling",
            Self::Scheduled => "Scheduled",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
