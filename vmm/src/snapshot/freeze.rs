//! Freezing the guest's file systems for a snapshot, so that its disks are of use without its memory, too.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::{AgentAnswer, AgentCommand, AgentError, AgentHandle, AgentReply, FreezeStatus};

use super::SnapshotError;
use super::manifest::FrozenBefore;

/// Who waits to write in the guest waits no longer than this, whatever becomes of the snapshot.
const LONGEST: Duration = Duration::from_secs(120);
/// How long a machine may need until it goes on.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Whether file systems are frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freezing {
    /// They are not.
    #[default]
    Never,
    /// If there is an agent that can do it.
    IfPossible,
    /// Or there is no snapshot.
    Required,
}

/// How it stands with the guest's file systems.
#[derive(Debug)]
pub(super) struct Quiet<'a> {
    /// They are frozen for the snapshot.
    pub(super) frozen: Option<Frozen<'a>>,
    /// Somebody else had frozen them before.
    pub(super) before: Option<FrozenBefore>,
    /// How that is called in KubeVirt's words.
    pub(super) how: &'static str,
}

/// File systems that are frozen for a snapshot. Dropped, it has them thawed.
#[derive(Debug)]
pub(super) struct Frozen<'a> {
    /// None: the guest ends.
    agent: Option<&'a AgentHandle>,
}

/// What KubeVirt says of a snapshot (`VirtualMachineSnapshot`, `status.indications`).
pub(super) mod indication {
    /// The guest ran.
    pub(in super::super) const ONLINE: &str = "Online";
    /// Its file systems were frozen.
    pub(in super::super) const AGENT: &str = "GuestAgent";
    /// There was no agent to freeze them.
    pub(in super::super) const NO_AGENT: &str = "NoGuestAgent";
    /// The agent could not freeze them.
    pub(in super::super) const FAILED: &str = "QuiesceFailed";
}

/// Has the guest's agent freeze all file systems, if that is wished and nobody has done so before.
///
/// # Errors
/// They have to be frozen, and cannot be.
pub(super) fn freeze(agent: Option<&AgentHandle>, wish: Freezing) -> Result<Quiet<'_>, SnapshotError> {
    let quiet = |before, how| Ok(Quiet { frozen: None, before, how });
    if wish == Freezing::Never {
        return quiet(agent.and_then(known), indication::NO_AGENT);
    }
    let frozen = agent.ok_or(AgentError::LeftToSocket).and_then(freeze_by);
    match frozen {
        Ok(Ok(frozen)) => Ok(Quiet { frozen: Some(frozen), before: None, how: indication::AGENT }),
        Ok(Err(before)) => quiet(Some(before), indication::AGENT),
        Err(error) if wish == Freezing::Required => Err(SnapshotError::Freeze(error)),
        Err(AgentError::NotConnected | AgentError::LeftToSocket | AgentError::Unsupported(_)) => {
            quiet(agent.and_then(known), indication::NO_AGENT)
        }
        Err(_) => quiet(agent.and_then(known), indication::FAILED),
    }
}

/// Freezes file systems, unless somebody else has.
fn freeze_by(agent: &AgentHandle) -> Result<Result<Frozen<'_>, FrozenBefore>, AgentError> {
    if ask(agent, AgentCommand::FreezeStatus)? == AgentAnswer::Freeze(FreezeStatus::Frozen) {
        return Ok(Err(known(agent).unwrap_or_default()));
    }
    // From here on they may be frozen, whatever the answer is.
    let frozen = Frozen { agent: Some(agent) };
    ask(agent, AgentCommand::Freeze { thaw_after: Some(LONGEST) })?;
    Ok(Ok(frozen))
}

/// For how long somebody has frozen them, as far as is known here.
fn known(agent: &AgentHandle) -> Option<FrozenBefore> {
    let known = agent.known_freeze();
    let left = known.thaws.map(|thaws| thaws.saturating_duration_since(Instant::now()).as_millis());
    let thaws_in_ms = left.map(|left| u64::try_from(left).unwrap_or(u64::MAX));
    known.frozen.then_some(FrozenBefore { thaws_in_ms })
}

impl Frozen<'_> {
    /// The guest ends: nobody is to be thawed.
    pub(super) fn forget(mut self) {
        self.agent = None;
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let Some(agent) = self.agent else { return };
        let end = Instant::now() + PATIENCE;
        // A machine that was just told to go on has not done so yet. One that stays paused is thawed when it goes on: the agent's
        // thread knows how long they may be frozen.
        while ask(agent, AgentCommand::Thaw) == Err(AgentError::Paused) && Instant::now() < end {
            thread::sleep(PAUSE);
        }
    }
}

/// Asks the agent, which answers in any case and in bounded time.
fn ask(agent: &AgentHandle, command: AgentCommand) -> Result<AgentAnswer, AgentError> {
    let (sender, answer) = mpsc::channel();
    agent.ask(command, AgentReply::new(move |result| drop(sender.send(result))));
    answer.recv().unwrap_or(Err(AgentError::Lost("the machine has ended")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_agent_only_who_insists_is_refused() {
        for wish in [Freezing::Never, Freezing::IfPossible] {
            let quiet = freeze(None, wish).unwrap();
            assert!(quiet.frozen.is_none() && quiet.before.is_none() && quiet.how == indication::NO_AGENT);
        }
        let why = freeze(None, Freezing::Required).unwrap_err();
        assert!(devices::chain(&why).contains("--agent-socket"), "{why}");
    }

    #[test]
    fn an_agent_that_hangs_does_not_keep_a_snapshot_waiting_that_wants_nothing_of_it() {
        let agent = crate::agent::Agent::spawn(Vec::new(), None, |_| {}).unwrap();
        let handle = agent.handle();
        let port = handle.plug().unwrap();
        port.watcher.guest_open(true);
        let (sender, answer) = mpsc::channel();
        // It is greeted, and says nothing; what is asked waits for that.
        let mut greeting = [0; 1];
        std::io::Read::read_exact(&mut &port.stream, &mut greeting).unwrap();
        handle.ask(AgentCommand::Ping, AgentReply::new(move |result| drop(sender.send(result))));
        assert!(freeze(Some(&handle), Freezing::Never).unwrap().before.is_none());
        assert_eq!(answer.try_recv(), Err(mpsc::TryRecvError::Empty), "it has waited for the agent");
    }
}
