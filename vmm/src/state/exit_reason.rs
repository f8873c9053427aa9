//! Why a run ended.

use std::path::PathBuf;

use serde::Serialize;

/// The end of a run, as its exit code and its report tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum ExitReason {
    /// The guest powered itself off.
    GuestShutdown,
    /// The guest powered itself off because it was asked to.
    Terminated,
    /// The guest was stopped by force: it did not power off in time, or was not given any.
    Killed,
    /// The guest was ended because its liveness probe failed.
    Unhealthy {
        /// What the probe said last.
        message: String,
    },
    /// The machine was moved, and runs elsewhere.
    Migrated {
        /// Where it was moved to.
        to: String,
    },
    /// The guest was stopped by force while it was not known whether the machine runs elsewhere.
    InDoubt {
        /// Where it was handed over to.
        to: String,
    },
    /// The guest reported a panic.
    GuestPanic,
    /// The guest let its watchdog run out, which was to switch the machine off.
    Hung,
    /// A vCPU took a triple fault.
    TripleFault {
        /// Its number.
        vcpu: u32,
    },
    /// The machine was saved, and was not to go on.
    Saved {
        /// Where it is.
        directory: PathBuf,
    },
    /// The host could not go on running the guest.
    HostFailure {
        /// What failed.
        message: String,
    },
}

impl ExitReason {
    /// Exit code of `kubevmm run`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::GuestShutdown | Self::Terminated | Self::Saved { .. } | Self::Migrated { .. } => 0,
            Self::HostFailure { .. } => 3,
            Self::GuestPanic | Self::Hung | Self::TripleFault { .. } => 4,
            Self::Killed | Self::InDoubt { .. } | Self::Unhealthy { .. } => 5,
        }
    }

    /// One line for a person.
    pub fn describe(&self) -> String {
        match self {
            Self::GuestShutdown => "the guest powered off".into(),
            Self::Terminated => "the guest powered off as asked".into(),
            Self::Killed => "the guest was stopped by force".into(),
            Self::Unhealthy { message } => {
                format!("the guest was ended because its liveness probe failed: {message}")
            }
            Self::Migrated { to } => format!("the machine was moved to {to}"),
            Self::InDoubt { to } => format!(
                "the guest was stopped by force while it was not known whether the machine runs at {to}: its memory here is gone"
            ),
            Self::GuestPanic => "the guest panicked".into(),
            Self::Hung => "the guest hung, and its watchdog switched the machine off".into(),
            Self::TripleFault { vcpu } => format!("the guest crashed: triple fault on vCPU {vcpu}"),
            Self::Saved { directory } => format!("the machine was saved in {}", directory.display()),
            Self::HostFailure { message } => message.clone(),
        }
    }
}
