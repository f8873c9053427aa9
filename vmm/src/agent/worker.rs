//! The thread that speaks to the agent.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::client::Client;
use super::credentials::Credentials;
use super::handle::{Inbox, Port};
use super::session::{Session, Sink};
use super::{AgentError, AgentHandle, AgentReport};
use crate::plan::CredentialPlan;
use crate::sys::poll::{self, Interest};

/// Time between two attempts to greet an agent, so that a guest that opens and closes its port all the time costs little.
const BREATH: Duration = Duration::from_secs(1);
/// Time after which whoever has the port open and is no agent is tried again; it doubles with every attempt.
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(300);
/// It reads answers of all sizes into the heap, and little into its stack.
const STACK: usize = 256 << 10;

/// The agent's thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Agent {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts the thread. It puts `credentials` into the guest. If there is `thaw_first`, file systems of the first guest that
    /// turn out to be frozen are thawed when its agent can be reached for so long. `report` is told what is new of the agent
    /// and its guest, and must not wait.
    ///
    /// # Errors
    /// The host has no room for another thread or descriptor.
    pub fn spawn(
        credentials: Vec<CredentialPlan>,
        thaw_first: Option<Duration>,
        report: impl Fn(AgentReport) + Send + 'static,
    ) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::new()?);
        let worker = Worker {
            inbox: Arc::clone(&inbox),
            link: Link::Unplugged,
            attempted: None,
            thaw: None,
            thaw_first,
            credentials: Credentials::new(credentials),
            sink: Box::new(report),
        };
        let thread =
            thread::Builder::new().name("agent".into()).stack_size(STACK).spawn(move || worker.run())?;
        Ok(Self { inbox, thread: Some(thread) })
    }

    /// A handle for others.
    pub fn handle(&self) -> AgentHandle {
        AgentHandle(Arc::clone(&self.inbox))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.inbox.stop();
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has said so.
            let _ = thread.join();
        }
    }
}

/// How it stands with the agent.
enum Link {
    /// There is no machine.
    Unplugged,
    /// Nobody in the guest speaks the protocol.
    Down(Down),
    /// An agent answers.
    Up(Box<Session>),
}

struct Down {
    port: Port,
    /// The opening that was tried last, and when it is tried again.
    tried: Option<(u32, Instant)>,
    rest: Duration,
}

struct Worker {
    inbox: Arc<Inbox>,
    link: Link,
    /// When an agent was greeted last.
    attempted: Option<Instant>,
    /// When file systems are to be thawed, while there is no agent to do it.
    thaw: Option<Instant>,
    /// File systems of the first guest, which has not been met yet, are thawed so long after it is met.
    thaw_first: Option<Duration>,
    credentials: Credentials,
    sink: Sink,
}

impl Worker {
    fn run(mut self) {
        while !self.inbox.is_stopped() {
            self.step();
            // Whatever woke a conversation in between is looked for here once more.
            let due = self.due();
            if self.inbox.has_news() || due.is_some_and(|due| due <= Instant::now()) {
                continue;
            }
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            match self.sleep(left) {
                Ok(()) => {}
                Err(error) => {
                    devices::say!(
                        "kubevmm: the guest agent is not spoken to any more: waiting for it failed: {error}"
                    );
                    break;
                }
            }
        }
        self.lose(&AgentError::Lost("the machine has ended"));
    }

    /// Sleeps until something is new, for `limit` at the most.
    fn sleep(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let wake = self.inbox.wake();
        let (woken, changed) = match self.credentials.watch() {
            None => {
                let [woken] = poll::wait([(wake as &dyn AsRawFd, Interest::Read)], limit)?;
                (woken, false)
            }
            Some(folders) => {
                let all: [(&dyn AsRawFd, _); 2] = [(wake, Interest::Read), (folders, Interest::Read)];
                let [woken, changed] = poll::wait(all, limit)?;
                (woken, changed)
            }
        };
        if woken {
            let _ = wake.read();
        }
        if changed {
            self.credentials.note_change();
        }
        Ok(())
    }

    fn step(&mut self) {
        if let Some(port) = self.inbox.plugged() {
            self.lose(&AgentError::Lost("the machine was reset"));
            self.thaw = None;
            if !matches!(self.link, Link::Unplugged) {
                // What starts anew is not frozen.
                self.thaw_first = None;
            }
            self.link = Link::Down(Down { port, tried: None, rest: FIRST_REST });
        }
        if let Link::Up(session) = &self.link
            && let Some(error) = session.ended()
        {
            self.lose(&error);
        }
        if self.greeting_due().is_some_and(|due| due <= Instant::now()) {
            self.greet();
        }
        self.carry_out_command();
        if let Link::Up(session) = &mut self.link
            && !self.inbox.is_paused()
            && let Err(error) = session
                .work(Instant::now(), &self.sink)
                .and_then(|()| self.credentials.put_in(session, &self.sink))
        {
            self.lose(&error);
        }
    }

    fn due(&self) -> Option<Instant> {
        match &self.link {
            Link::Up(session) if session.ended().is_some() => Some(Instant::now()),
            Link::Up(_) if self.inbox.is_paused() => None,
            Link::Up(session) => self.credentials.due().into_iter().chain([session.due()]).min(),
            Link::Down(_) => self.greeting_due(),
            Link::Unplugged => None,
        }
    }

    /// When whoever has the port open is to be greeted.
    fn greeting_due(&self) -> Option<Instant> {
        let Link::Down(down) = &self.link else { return None };
        if self.inbox.is_paused() {
            return None;
        }
        let opening = down.port.watch.opening()?;
        let soonest = self.attempted.map(|last| last + BREATH);
        let again = down.tried.filter(|(tried, _)| *tried == opening).map(|(_, again)| again);
        again.max(soonest).or_else(|| Some(Instant::now()))
    }

    fn greet(&mut self) {
        let Link::Down(down) = std::mem::replace(&mut self.link, Link::Unplugged) else { return };
        let Down { port, tried, rest } = down;
        let Some(opening) = port.watch.opening() else {
            self.link = Link::Down(Down { port, tried, rest });
            return;
        };
        if let Some(after) = self.thaw_first.take() {
            self.thaw = Instant::now().checked_add(after);
        }
        let begun = Session::begin(Client::new(port, opening), self.thaw, &self.sink);
        self.attempted = Some(Instant::now());
        self.link = match begun {
            Ok(session) => {
                self.thaw = None;
                self.credentials.begin();
                Link::Up(Box::new(session))
            }
            Err((port, _)) => {
                let same = tried.is_some_and(|(tried, _)| tried == opening);
                let rest = if same { rest.saturating_mul(2).min(LONGEST_REST) } else { FIRST_REST };
                Link::Down(Down { port, tried: Some((opening, Instant::now() + rest)), rest })
            }
        };
    }

    /// Carries out one command, so that what is due has its turn.
    fn carry_out_command(&mut self) {
        let Some(asked) = self.inbox.next() else { return };
        match &mut self.link {
            _ if self.inbox.is_paused() => asked.reply.give(Err(AgentError::Paused)),
            Link::Up(session) => {
                if let Err(error) = session.carry_out(asked, &self.sink) {
                    self.lose(&error);
                }
            }
            _ => asked.reply.give(Err(AgentError::NotConnected)),
        }
    }

    /// Ends the conversation, if there is one.
    fn lose(&mut self, error: &AgentError) {
        match std::mem::replace(&mut self.link, Link::Unplugged) {
            Link::Up(session) => {
                let (port, thaw) = session.end(error, &self.sink);
                self.thaw = thaw;
                let tried = port.watch.opening().map(|opening| (opening, Instant::now() + FIRST_REST));
                self.link = Link::Down(Down { port, tried, rest: FIRST_REST });
            }
            other => self.link = other,
        }
    }
}
