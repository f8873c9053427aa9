//! The guest agent: a client for QEMU's guest agent protocol on the port `org.qemu.guest_agent.0`, what is asked of it
//! without being told to, and probes of the guest's health.
//!
//! The agent runs in the guest, so it is as hostile as the guest: whatever it says or leaves unsaid costs bounded memory
//! and time, and ends in the agent counting as lost until a later attempt.
//!
//! One thread speaks to the agent, one command at a time. It sleeps until a command is given, something is due, or the
//! console device says that the guest has opened or closed the port: a guest without an agent costs nothing.

mod attendants;
mod calls;
mod client;
mod command;
mod credentials;
mod error;
mod exec;
mod facts;
mod handle;
mod identity;
mod line;
mod probe;
mod report;
mod session;
#[cfg(test)]
mod tests;
mod text;
mod worker;

pub use attendants::Attendants;
pub use command::{AgentAnswer, AgentCommand, Everything, ExecOutcome, ExecRequest, ShutdownMode, UNFREEZE};
pub use error::AgentError;
pub use facts::{
    AgentCommandInfo, AgentInfo, Device, FileSystem, FreezeStatus, GuestInfo, Interface, InterfaceAddress,
    OsInfo, TimeZone, User,
};
pub use handle::{AgentHandle, AgentReply, KnownFreeze, PortEnd};
pub use identity::{Awakening, NewIdentity};
pub use probe::{AddressOf, Probe, ProbeKind, ProbeResult, Probed};
pub use report::AgentReport;
pub use worker::Agent;
