//! Why an agent did not do what it was asked for.

use std::time::Duration;

/// The agent did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// No agent answers on the port.
    #[error(
        "no guest agent is connected: install qemu-guest-agent in the guest and start it, or wait until it has started"
    )]
    NotConnected,
    /// The port is left to whoever connects to its socket.
    #[error("kubevmm does not speak to the guest agent of this machine: it was started with --agent-socket")]
    LeftToSocket,
    /// The machine is paused, and the agent with it.
    #[error("the machine is paused: unpause it first")]
    Paused,
    /// File systems are frozen, and the agent does nothing else before they are thawed.
    #[error("the guest's file systems are frozen: unfreeze them first")]
    Frozen,
    /// The agent cannot do it, or may not.
    #[error("the guest agent does not know {0}, or its configuration in the guest forbids it")]
    Unsupported(&'static str),
    /// The agent tried and failed.
    #[error("the guest agent says: {0}")]
    Refused(String),
    /// The agent did not answer.
    #[error("the guest agent did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// A program in the guest takes longer than it was given.
    #[error("the program runs in the guest still, as process {pid}, after {} s", .after.as_secs())]
    StillRuns {
        /// Its process in the guest.
        pid: i64,
        /// How long it was waited for.
        after: Duration,
    },
    /// The answer is larger than what is taken from an agent.
    #[error("the guest agent's answer is larger than {0} bytes, which is all that is taken of it")]
    TooLong(usize),
    /// The answer is none to the command.
    #[error("the guest agent answered {0} with something else")]
    Odd(&'static str),
    /// The connection broke off.
    #[error("the guest agent is gone: {0}")]
    Lost(&'static str),
    /// Too much is being asked already.
    #[error("too many commands wait for the guest agent already: try again later")]
    Busy,
    /// What is asked for cannot be asked of an agent.
    #[error("{0}")]
    Invalid(String),
}
