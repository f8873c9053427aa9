//! Probes of the guest's health, as the kubelet does them for pods.
//!
//! Each probe has a thread of its own, which sleeps from test to test; machines without probes have none.

mod network;
mod schedule;
mod thread;

use std::net::IpAddr;
use std::sync::Arc;

pub use thread::{Probe, Probed};

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// Whether the guest is ready to be used.
    Readiness,
    /// Whether the guest is to be ended.
    Liveness,
}

/// What a probe has found out, when it is another thing than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// What it decides.
    pub kind: ProbeKind,
    /// Whether the guest is healthy, and if not, why.
    pub health: Result<(), String>,
}

/// Says what the guest's address is at present, if it has one.
pub type AddressOf = Arc<dyn Fn() -> Option<IpAddr> + Send + Sync>;
