//! How others reach the agent's thread.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use devices::virtio::console::PortWatcher;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::{AgentAnswer, AgentCommand, AgentError};

/// Most commands that wait for the thread.
const MOST_WAITING: usize = 64;

/// What a command's answer is given to.
type Answered = Box<dyn FnOnce(Result<AgentAnswer, AgentError>) + Send>;

/// Takes the answer to a command, once. If it is dropped before, the answer is that the agent is gone.
pub struct AgentReply(Option<Answered>);

impl AgentReply {
    /// `answered` is called by the agent's thread, which must not wait in it.
    pub fn new(answered: impl FnOnce(Result<AgentAnswer, AgentError>) + Send + 'static) -> Self {
        Self(Some(Box::new(answered)))
    }

    /// Gives the answer.
    pub fn give(mut self, answer: Result<AgentAnswer, AgentError>) {
        if let Some(answered) = self.0.take() {
            answered(answer);
        }
    }
}

impl Drop for AgentReply {
    fn drop(&mut self) {
        if let Some(answered) = self.0.take() {
            answered(Err(AgentError::Lost("the machine has ended")));
        }
    }
}

impl fmt::Debug for AgentReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentReply")
    }
}

/// A command that waits for its turn.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) command: AgentCommand,
    pub(super) reply: AgentReply,
}

/// What waits for the thread.
#[derive(Debug, Default)]
struct Waiting {
    asked: VecDeque<Asked>,
    /// The port of a machine that was built.
    plugged: Option<Port>,
    stop: bool,
}

/// What the thread and its handles share.
#[derive(Debug)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    wake: EventFd,
    paused: AtomicBool,
    freeze: Mutex<KnownFreeze>,
}

/// What is known of the guest's file systems without asking it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownFreeze {
    /// They take no writes.
    pub frozen: bool,
    /// When they are thawed by themselves, if they are.
    pub thaws: Option<Instant>,
}

/// The thread's end of a port.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) stream: UnixStream,
    pub(super) watch: Arc<PortWatch>,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        let wake = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Self { waiting: Mutex::default(), wake, paused: AtomicBool::new(false), freeze: Mutex::default() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readable when there is something new.
    pub(super) fn wake(&self) -> &EventFd {
        &self.wake
    }

    /// Has the thread look. A full counter is a pending wake-up, too.
    fn ring(&self) {
        let _ = self.wake.write(1);
    }

    /// The next command.
    pub(super) fn next(&self) -> Option<Asked> {
        self.waiting().asked.pop_front()
    }

    /// The port of a machine that was built since.
    pub(super) fn plugged(&self) -> Option<Port> {
        self.waiting().plugged.take()
    }

    /// Whether anything waits for the thread.
    pub(super) fn has_news(&self) -> bool {
        let waiting = self.waiting();
        waiting.stop || waiting.plugged.is_some() || !waiting.asked.is_empty()
    }

    /// Whether the thread is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.waiting().stop
    }

    /// Whether there is something more urgent than the agent's answer, and what.
    fn interrupts(&self) -> Option<&'static str> {
        let waiting = self.waiting();
        match (waiting.stop, &waiting.plugged) {
            (true, _) => Some("the machine has ended"),
            (false, Some(_)) => Some("the machine was reset"),
            (false, None) => None,
        }
    }

    /// Whether the machine is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.waiting().stop = true;
        self.ring();
    }
}

/// How often the guest has opened and closed the port: odd while it is open.
#[derive(Debug)]
pub(super) struct PortWatch {
    inbox: Arc<Inbox>,
    turns: AtomicU32,
}

impl PortWatch {
    /// Which opening of the port this is, if it is open.
    pub(super) fn opening(&self) -> Option<u32> {
        Some(self.turns.load(Ordering::Acquire)).filter(|turns| turns % 2 == 1)
    }

    /// Why a conversation of this opening is over, if it is.
    pub(super) fn ended(&self, opening: u32) -> Option<&'static str> {
        let same = self.turns.load(Ordering::Acquire) == opening;
        self.inbox.interrupts().or_else(|| (!same).then_some("it has closed its port"))
    }

    /// Has others know how it stands with the guest's file systems.
    pub(super) fn note_freeze(&self, known: KnownFreeze) {
        *self.inbox.freeze.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// What wakes the thread.
    pub(super) fn wake(&self) -> &EventFd {
        &self.inbox.wake
    }
}

impl PortWatcher for PortWatch {
    fn guest_open(&self, open: bool) {
        // Opened twice is as good as closed in between: it is somebody else who has it now.
        let next = |turns: u32| {
            let step = if (turns % 2 == 1) == open { 2 } else { 1 };
            turns.checked_add(step).or(Some(u32::from(open)))
        };
        let changes = open || self.turns.load(Ordering::Acquire) % 2 == 1;
        if changes && self.turns.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok() {
            self.inbox.ring();
        }
    }
}

/// The console device's end of a port.
#[derive(Debug)]
pub struct PortEnd {
    /// What the guest says, and what it is told.
    pub stream: UnixStream,
    /// To be told when the guest opens and closes the port.
    pub watcher: Arc<dyn PortWatcher>,
}

/// Reaches the agent's thread; clones reach the same.
#[derive(Clone, Debug)]
pub struct AgentHandle(pub(super) Arc<Inbox>);

impl AgentHandle {
    /// Asks the agent for something. `reply` gets the answer, in any case and in bounded time.
    pub fn ask(&self, command: AgentCommand, reply: AgentReply) {
        let refusal = {
            let mut waiting = self.0.waiting();
            if waiting.stop {
                AgentError::Lost("the machine has ended")
            } else if waiting.asked.len() >= MOST_WAITING {
                AgentError::Busy
            } else {
                waiting.asked.push_back(Asked { command, reply });
                drop(waiting);
                return self.0.ring();
            }
        };
        reply.give(Err(refusal));
    }

    /// A port for a machine that is being built. The conversation with the machine before, if there was one, is over.
    ///
    /// # Errors
    /// As `UnixStream::pair`.
    pub fn plug(&self) -> io::Result<PortEnd> {
        let (ours, stream) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let watch = Arc::new(PortWatch { inbox: Arc::clone(&self.0), turns: AtomicU32::new(0) });
        self.0.waiting().plugged = Some(Port { stream: ours, watch: Arc::clone(&watch) });
        self.0.ring();
        Ok(PortEnd { stream, watcher: watch })
    }

    /// What is known of the guest's file systems, at once: an agent that hangs keeps nobody waiting for that.
    pub fn known_freeze(&self) -> KnownFreeze {
        *self.0.freeze.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the machine is paused.
    pub fn is_paused(&self) -> bool {
        self.0.is_paused()
    }

    /// The machine is paused, or goes on: a guest that stands still is asked nothing, and what is asked of it is refused.
    pub fn set_paused(&self, paused: bool) {
        self.0.paused.store(paused, Ordering::Release);
        self.0.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> PortWatch {
        PortWatch { inbox: Arc::new(Inbox::new().unwrap()), turns: AtomicU32::new(0) }
    }

    #[test]
    fn each_opening_of_a_port_is_another() {
        let watch = watch();
        assert_eq!(watch.opening(), None);
        watch.guest_open(false);
        assert!(watch.inbox.wake.read().is_err(), "a port that was closed already is no news");
        watch.guest_open(true);
        let first = watch.opening().unwrap();
        assert_eq!(watch.ended(first), None);
        watch.guest_open(true);
        let second = watch.opening().unwrap();
        assert_ne!(first, second);
        assert!(watch.ended(first).is_some());
        watch.guest_open(false);
        assert_eq!(watch.opening(), None);
        assert!(watch.ended(second).is_some());
        watch.turns.store(u32::MAX, Ordering::Release);
        watch.guest_open(true);
        assert_eq!(watch.opening(), Some(1), "the count starts anew");
    }

    #[test]
    fn every_command_has_an_answer_and_few_wait() {
        let handle = AgentHandle(Arc::new(Inbox::new().unwrap()));
        let answers = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..MOST_WAITING + 2 {
            let answers = Arc::clone(&answers);
            handle
                .ask(AgentCommand::Ping, AgentReply::new(move |answer| answers.lock().unwrap().push(answer)));
        }
        assert_eq!(*answers.lock().unwrap(), [Err(AgentError::Busy), Err(AgentError::Busy)]);
        drop(handle);
        assert_eq!(answers.lock().unwrap().len(), MOST_WAITING + 2);
    }
}
