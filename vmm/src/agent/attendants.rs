//! The threads that attend to a guest over all its reboots: who speaks to its agent, and its probes.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Agent, AgentHandle, AgentReport, Probe, ProbeKind, Probed};
use crate::plan::Plan;
use crate::state::{Event, Mailbox};
use crate::status::Board;

/// They end when this is dropped.
#[derive(Debug)]
pub struct Attendants {
    // Probes ask the agent, so that they go first.
    _probes: Vec<Probe>,
    agent: Option<Agent>,
}

impl Attendants {
    /// Starts those that the planned machine needs. What they find out goes to `mailbox`. If the agent's port is
    /// `left_to_socket`, nobody speaks to the agent.
    ///
    /// # Errors
    /// The host has no room for another thread or descriptor.
    pub fn start(plan: &Plan, left_to_socket: bool, board: &Board, mailbox: &Mailbox) -> io::Result<Self> {
        let tell = || {
            let mailbox = mailbox.clone();
            move |report: AgentReport| mailbox.post(Event::Agent(report))
        };
        let agent = (!left_to_socket).then(|| Agent::spawn(plan.credentials.clone(), tell())).transpose()?;
        let mut probes = Vec::new();
        for (kind, probe) in [(ProbeKind::Readiness, &plan.readiness), (ProbeKind::Liveness, &plan.liveness)]
        {
            let Some(probe) = probe else { continue };
            let board = board.clone();
            let address = Arc::new(move || address(&board));
            let probed = Probed { agent: agent.as_ref().map(Agent::handle), address };
            let tell = tell();
            let tell = move |result| tell(AgentReport::Probe(result));
            probes.push(Probe::spawn(kind, probe.clone(), probed, tell)?);
        }
        Ok(Self { _probes: probes, agent })
    }

    /// A handle on who speaks to the agent, if anybody does.
    pub fn agent(&self) -> Option<AgentHandle> {
        self.agent.as_ref().map(Agent::handle)
    }
}

/// The first address that the status has of the guest.
fn address(board: &Board) -> Option<IpAddr> {
    let current = board.current();
    let interfaces = current.vmi.status.iter().flat_map(|status| &status.interfaces);
    interfaces
        .filter(|interface| !interface.name.is_empty())
        .find_map(|interface| interface.ip_address.parse().ok())
}
