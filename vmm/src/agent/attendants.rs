//! The threads that attend to a guest over all its reboots: who speaks to its agent, and its probes.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::identity::Teller;
use super::{Agent, AgentHandle, AgentReport, Awakening, Probe, ProbeKind, Probed};
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
    /// `left_to_socket`, nobody speaks to the agent. A guest that comes out of a snapshot is told what `awakening` has for it.
    ///
    /// # Errors
    /// The host has no room for another thread or descriptor.
    pub fn start(
        plan: &Plan,
        left_to_socket: bool,
        awakening: Awakening,
        board: &Board,
        mailbox: &Mailbox,
    ) -> io::Result<Self> {
        let tell = || {
            let mailbox = mailbox.clone();
            move |report: AgentReport| mailbox.post(Event::Agent(report))
        };
        let teller = Teller::new(awakening.identity);
        let of_agent = {
            let (teller, mailbox) = (teller.clone(), mailbox.clone());
            move |report: AgentReport| {
                let told = mailbox.clone();
                teller.note(&report, move |report| told.post(Event::Agent(report)));
                mailbox.post(Event::Agent(report));
            }
        };
        let spawn = || Agent::spawn(plan.credentials.clone(), awakening.thaw, of_agent);
        let agent = (!left_to_socket).then(spawn).transpose()?;
        if let Some(agent) = &agent {
            teller.reach_by(agent.handle());
        }
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
