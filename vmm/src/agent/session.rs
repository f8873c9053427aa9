//! An agent that answers: what is asked of it, and what of its answers is news.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::calls::{self, Call};
use super::client::Client;
use super::credentials::Wanted;
use super::exec::{Looked, MOST_RUNNING, Running};
use super::facts::{FreezeStatus, GuestInfo, Interface};
use super::handle::{Asked, KnownFreeze, Port};
use super::text::tame;
use super::{
    AgentAnswer, AgentCommand, AgentError, AgentInfo, AgentReply, AgentReport, Everything, ExecRequest,
};
use crate::pauses::Pauses;

/// Time until the guest is asked for news for the second time. It doubles from time to time, as in KubeVirt
/// (`pkg/virt-launcher/virtwrap/agent-poller`).
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest it becomes. KubeVirt asks some things more often; a guest that does nothing is to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Time until file systems that could not be thawed are tried again.
const THAW_AGAIN: Duration = Duration::from_secs(10);

/// What is told to the state driver.
pub(super) type Sink = Box<dyn Fn(AgentReport) + Send>;

/// A conversation with an agent that has said who it is.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    agent: AgentInfo,
    guest: GuestInfo,
    interfaces: Option<Vec<Interface>>,
    running: Vec<Running>,
    pauses: Pauses,
    poll: Instant,
    /// When file systems are thawed if nobody has done it before.
    thaw: Option<Instant>,
}

impl Session {
    /// Greets the agent.
    ///
    /// # Errors
    /// Whatever speaks there is no agent, or does not speak at all; with the port, for another attempt.
    pub(super) fn begin(
        mut client: Client,
        thaw: Option<Instant>,
        sink: &Sink,
    ) -> Result<Self, (Port, AgentError)> {
        let greeted = client.get_in_step().and_then(|()| client.call(&calls::info()));
        let mut agent = match greeted {
            Ok(agent) => agent,
            Err(error) => return Err((client.into_port(), error)),
        };
        agent.commands.sort_by(|one, other| one.name.cmp(&other.name));
        sink(AgentReport::Connected(agent.clone()));
        let session = Self {
            client,
            agent,
            guest: GuestInfo::default(),
            interfaces: None,
            running: Vec::new(),
            pauses: Pauses::new(FIRST_PAUSE, LONGEST_PAUSE),
            poll: Instant::now(),
            thaw,
        };
        session.tell_freeze();
        Ok(session)
    }

    /// Ends the conversation; gives back the port and when file systems are to be thawed.
    pub(super) fn end(self, error: &AgentError, sink: &Sink) -> (Port, Option<Instant>) {
        self.running.into_iter().for_each(|running| running.lose(error));
        sink(AgentReport::Lost(error.to_string()));
        self.client.note_freeze(KnownFreeze::default());
        (self.client.into_port(), self.thaw)
    }

    /// Why the conversation is over, if it is.
    pub(super) fn ended(&self) -> Option<AgentError> {
        self.client.ended().map(AgentError::Lost)
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Instant {
        let programs = self.running.iter().map(Running::due);
        programs.chain(self.thaw).fold(self.poll, Instant::min)
    }

    /// Does what is due.
    ///
    /// # Errors
    /// The agent is lost.
    pub(super) fn work(&mut self, now: Instant, sink: &Sink) -> Result<(), AgentError> {
        if self.thaw.is_some_and(|thaw| thaw <= now) {
            match self.thaw(sink) {
                Err(error @ AgentError::Lost(_)) => return Err(error),
                // Such an agent has frozen nothing, and nobody can have it thaw anything.
                Err(AgentError::Unsupported(_)) => self.thaw = None,
                Err(error) => {
                    devices::say!("kubevmm: the guest's file systems could not be unfrozen: {error}");
                    self.thaw = Some(Instant::now() + THAW_AGAIN);
                }
                Ok(()) => {
                    devices::say!(
                        "kubevmm: the guest's file systems were not unfrozen in time and have been unfrozen"
                    );
                }
            }
            self.tell_freeze();
        }
        if let Some(index) = self.running.iter().position(|running| running.due() <= now) {
            match self.running.swap_remove(index).look(&mut self.client) {
                Looked::Runs(running) => self.running.push(running),
                Looked::Told => {}
                Looked::Lost(error) => return Err(error),
            }
        }
        if self.poll <= now {
            match self.ask_for_news(sink) {
                // A guest may be slow, or paused meanwhile. The next command finds out whether its agent is there still.
                Ok(()) | Err(AgentError::TimedOut(_)) => {}
                Err(error) => return Err(error),
            }
            self.poll = Instant::now() + self.pauses.next();
        }
        Ok(())
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// The agent is lost. Whoever gave the command is told in any case.
    pub(super) fn carry_out(
        &mut self,
        Asked { command, reply }: Asked,
        sink: &Sink,
    ) -> Result<(), AgentError> {
        if let AgentCommand::Exec(request) = command {
            return self.start(&request, reply);
        }
        let answer = self.answer(&command, sink);
        let lost = match &answer {
            Err(error @ AgentError::Lost(_)) => Err(error.clone()),
            _ => Ok(()),
        };
        // Who is answered finds that known.
        self.tell_freeze();
        reply.give(answer);
        lost
    }

    fn answer(&mut self, command: &AgentCommand, sink: &Sink) -> Result<AgentAnswer, AgentError> {
        match command {
            AgentCommand::Ping => self.call(&calls::ping()).map(|_| AgentAnswer::Done),
            AgentCommand::FreezeStatus => self.freeze_status(sink).map(AgentAnswer::Freeze),
            AgentCommand::Freeze { thaw_after } => self.freeze(*thaw_after, sink).map(|()| AgentAnswer::Done),
            AgentCommand::Thaw => self.thaw(sink).map(|()| AgentAnswer::Done),
            AgentCommand::Info => {
                self.ask_for_news(sink)?;
                let mut all = Everything { agent: self.agent.clone(), ..Everything::default() };
                if !self.is_frozen() {
                    all.users = self.fact(&calls::users())?.map(|users| users.0).unwrap_or_default();
                    all.file_systems =
                        self.fact(&calls::file_systems())?.map(|all| all.0).unwrap_or_default();
                }
                all.guest = self.guest.clone();
                Ok(AgentAnswer::Info(Box::new(all)))
            }
            _ if self.is_frozen() => Err(AgentError::Frozen),
            AgentCommand::Users => self.call(&calls::users()).map(|users| AgentAnswer::Users(users.0)),
            AgentCommand::FileSystems => {
                self.call(&calls::file_systems()).map(|systems| AgentAnswer::FileSystems(systems.0))
            }
            AgentCommand::ShutDown(mode) => {
                let call = calls::shut_down(*mode);
                self.supported(call.name)?;
                self.client.call_without_answer(&call).map(|()| AgentAnswer::Done)
            }
            // It is answered when the program has ended.
            AgentCommand::Exec(_) => Ok(AgentAnswer::Done),
        }
    }

    fn start(&mut self, request: &ExecRequest, reply: AgentReply) -> Result<(), AgentError> {
        let started = if self.is_frozen() {
            Err(AgentError::Frozen)
        } else if self.running.len() >= MOST_RUNNING {
            Err(AgentError::Busy)
        } else {
            self.supported("guest-exec").and_then(|()| Running::start(&mut self.client, request))
        };
        match started {
            Ok(pid) => {
                self.running.push(Running::new(pid, request.timeout, reply, Instant::now()));
                Ok(())
            }
            Err(error) => {
                let lost = matches!(error, AgentError::Lost(_));
                reply.give(Err(error.clone()));
                if lost { Err(error) } else { Ok(()) }
            }
        }
    }

    fn supported(&self, name: &'static str) -> Result<(), AgentError> {
        if self.agent.can(name) { Ok(()) } else { Err(AgentError::Unsupported(name)) }
    }

    fn call<T: DeserializeOwned>(&mut self, call: &Call<T>) -> Result<T, AgentError> {
        self.supported(call.name)?;
        self.client.call(call)
    }

    /// What an agent cannot say, or says wrongly, is not known. One that is gone or silent has not said so.
    fn fact<T: DeserializeOwned>(&mut self, call: &Call<T>) -> Result<Option<T>, AgentError> {
        match self.call(call) {
            Ok(fact) => Ok(Some(fact)),
            Err(error @ (AgentError::Lost(_) | AgentError::TimedOut(_))) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Asks for all that the machine's status tells of a guest, and tells what is new of it.
    fn ask_for_news(&mut self, sink: &Sink) -> Result<(), AgentError> {
        let freeze = self.fact(&calls::freeze_status())?;
        if let Some(status) = freeze {
            self.note_freeze(status, sink);
        }
        if self.is_frozen() {
            return Ok(());
        }
        let guest = GuestInfo {
            os: self.fact(&calls::os_info())?,
            host_name: self.fact(&calls::host_name())?.map(|name| name.host_name).unwrap_or_default(),
            time_zone: self.fact(&calls::time_zone())?,
            freeze,
        };
        if guest != self.guest {
            self.guest = guest.clone();
            sink(AgentReport::Info(Box::new(guest)));
        }
        let interfaces = self.fact(&calls::interfaces())?.map(|all| all.0);
        if let Some(mut interfaces) = interfaces {
            interfaces.retain(|interface| interface.name != "lo");
            interfaces.iter_mut().for_each(|interface| interface.mac = tame(&interface.mac.to_lowercase()));
            if self.interfaces.as_ref() != Some(&interfaces) {
                self.interfaces = Some(interfaces.clone());
                sink(AgentReport::Interfaces(interfaces));
            }
        }
        Ok(())
    }

    /// Puts keys and passwords into the guest.
    ///
    /// # Errors
    /// The agent is lost.
    pub(super) fn put_in(&mut self, wanted: &Wanted, sink: &Sink) -> Result<(), AgentError> {
        let mut faults = Vec::new();
        let keys = wanted.keys.iter().map(|(user, keys)| (user, calls::set_keys(user, keys)));
        let passwords =
            wanted.passwords.iter().map(|(user, password)| (user, calls::set_password(user, password)));
        for (user, call) in keys.chain(passwords) {
            match self.call(&call) {
                Ok(_) => {}
                Err(error @ AgentError::Lost(_)) => return Err(error),
                Err(error) => faults.push(format!("user {user}: {error}")),
            }
        }
        faults.extend(wanted.faults.iter().cloned());
        sink(AgentReport::Credentials(if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }));
        Ok(())
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.guest.freeze == Some(FreezeStatus::Frozen)
    }

    fn note_freeze(&mut self, status: FreezeStatus, sink: &Sink) {
        if status == FreezeStatus::Thawed {
            self.thaw = None;
        }
        if self.guest.freeze != Some(status) {
            self.guest.freeze = Some(status);
            sink(AgentReport::Freeze(status));
        }
        self.tell_freeze();
    }

    fn tell_freeze(&self) {
        self.client.note_freeze(KnownFreeze { frozen: self.is_frozen(), thaws: self.thaw });
    }

    fn freeze_status(&mut self, sink: &Sink) -> Result<FreezeStatus, AgentError> {
        let status = self.call(&calls::freeze_status())?;
        self.note_freeze(status, sink);
        Ok(status)
    }

    /// Freezes what is not frozen yet.
    fn freeze(&mut self, thaw_after: Option<Duration>, sink: &Sink) -> Result<(), AgentError> {
        self.supported("guest-fsfreeze-freeze")?;
        if self.freeze_status(sink)? == FreezeStatus::Frozen {
            return Ok(());
        }
        // Whatever becomes of it, nothing stays frozen that nobody knows of.
        self.thaw = Some(Instant::now());
        match self.client.call(&calls::freeze()) {
            Ok(_) => {
                self.note_freeze(FreezeStatus::Frozen, sink);
                self.thaw = thaw_after.and_then(|after| Instant::now().checked_add(after));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn thaw(&mut self, sink: &Sink) -> Result<(), AgentError> {
        self.call(&calls::thaw())?;
        // An agent that was met frozen has said that it can do next to nothing.
        match self.client.call(&calls::info()) {
            Ok(agent) => self.agent = agent,
            Err(error @ AgentError::Lost(_)) => return Err(error),
            Err(_) => {}
        }
        self.note_freeze(FreezeStatus::Thawed, sink);
        Ok(())
    }
}
