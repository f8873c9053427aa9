//! What the agent's threads tell the state driver.

use super::{AgentInfo, FreezeStatus, GuestInfo, Interface, ProbeResult};

/// News of the guest's agent. They are told when something has changed, and no more often than the agent is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentReport {
    /// An agent answers; what it can do.
    Connected(AgentInfo),
    /// It does not any more, because of this.
    Lost(String),
    /// Operating system, host name, time zone.
    Info(Box<GuestInfo>),
    /// The guest's network cards, without its loopback.
    Interfaces(Vec<Interface>),
    /// File systems were frozen or thawed.
    Freeze(FreezeStatus),
    /// Keys and passwords of `accessCredentials` were put in, or not, and why.
    Credentials(Result<(), String>),
    /// A clone's guest has taken its new identity over, or not, and why.
    Identity(Result<(), String>),
    /// What a probe has found out.
    Probe(ProbeResult),
}
