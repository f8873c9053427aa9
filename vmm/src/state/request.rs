//! What others ask of a machine, and how they are answered.

use std::fmt;
use std::time::Duration;

use super::{Event, LookOrder, Mailbox, SaveOrder};
use crate::hotplug::DeviceChange;
use crate::migration::MigrationRequest;

/// Something that can be asked of a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// vCPUs and queues stop where they are.
    Pause,
    /// They go on.
    Unpause,
    /// The guest is to power off, and is stopped by force when its time is over.
    Stop {
        /// How long it may take; `None` for the manifest's grace period, zero for at once.
        grace: Option<Duration>,
    },
    /// As [`Verb::Stop`], but then the machine boots again.
    Restart {
        /// As in [`Verb::Stop`].
        grace: Option<Duration>,
    },
    /// The machine is reset at once, whatever its guest does.
    Reset,
    /// The guest is asked to reboot. It may refuse.
    SoftReboot,
    /// The power button is pressed, with nothing following if the guest does not care.
    PowerButton,
    /// All vCPUs get a non-maskable interrupt.
    Nmi,
    /// The guest is asked, by its balloon, to get by on less memory than it was started with, or to take it back.
    SetMemory {
        /// Bytes, at most what it was started with.
        bytes: u64,
    },
    /// A device comes or goes.
    Device(DeviceChange),
    /// The machine moves to another process.
    Migrate(Box<MigrationRequest>),
    /// It is to stay after all.
    CancelMigration {
        /// Also if the destination does not say whether it has the machine.
        force: bool,
    },
    /// The machine stays, though its process was to end.
    CancelEvacuation,
    /// A migration is to be forgotten, and broken off if it is on its way.
    DeleteMigration {
        /// Its name.
        name: String,
    },
    /// The machine stands still while its state is taken away ([`Event::Save`]).
    Save,
}

impl Verb {
    /// Its name, as in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Stop { .. } => "stop",
            Self::Restart { .. } => "restart",
            Self::Reset => "reset",
            Self::SoftReboot => "soft-reboot",
            Self::PowerButton => "power-button",
            Self::Nmi => "nmi",
            Self::SetMemory { .. } => "set-memory",
            Self::Device(_) => "device",
            Self::Migrate(_) => "migrate",
            Self::CancelMigration { .. } => "migrate-cancel",
            Self::DeleteMigration { .. } => "migrate-delete",
            Self::CancelEvacuation => "evacuate-cancel",
            Self::Save => "save",
        }
    }
}

/// What came of a request that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is done.
    Finished,
    /// It has begun; the status says when it is done.
    Begun,
}

/// Kinds of refusal, as HTTP and Kubernetes tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Not in this state (409).
    Conflict,
    /// Not with this machine (403).
    Forbidden,
    /// The request makes no sense (422).
    Invalid,
    /// There is no such thing (404).
    NotFound,
    /// Nobody is there to do it (503).
    Unavailable,
    /// The host failed (500).
    Internal,
    /// It took too long (504).
    TimedOut,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// KubeVirt's words where it has any.
    pub message: String,
}

impl Refusal {
    /// A refusal in these words.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The machine's state does not allow it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Conflict, message)
    }
}

type Answer = Result<Done, Refusal>;

/// The way back to who asked. It is called once, on the driver's thread, and must not block. Dropped unanswered, it
/// says that the machine has ended.
pub struct Reply(Option<Box<dyn FnOnce(Answer) + Send>>);

impl Reply {
    /// Answers go to `to`.
    pub fn new(to: impl FnOnce(Answer) + Send + 'static) -> Self {
        Self(Some(Box::new(to)))
    }

    /// Answers.
    pub fn send(mut self, answer: Answer) {
        if let Some(to) = self.0.take() {
            to(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(to) = self.0.take() {
            to(Err(Refusal::new(RefusalKind::Unavailable, "the machine has ended")));
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// A narrow handle for asking things of the machine that a driver owns.
#[derive(Clone, Debug)]
pub struct Requests(Mailbox);

impl Requests {
    /// Requests that arrive in `mailbox`.
    pub fn new(mailbox: Mailbox) -> Self {
        Self(mailbox)
    }

    /// Asks to look at the machine.
    pub fn look(&self, order: LookOrder) {
        self.0.post(Event::Look(order));
    }

    /// Asks for the machine's state, for which the machine stops.
    pub fn save(&self, order: SaveOrder) {
        self.0.post(Event::Save(order));
    }

    /// Asks for `verb`; the answer goes to `reply`.
    pub fn ask(&self, verb: Verb, reply: Reply) {
        self.0.post(Event::Request(verb, reply));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn whoever_asks_hears_of_it_even_if_nobody_answers() {
        let mailbox = Mailbox::new().unwrap();
        let requests = Requests::new(mailbox.clone());
        let (sender, answers) = mpsc::channel();
        let reply = || {
            let sender = sender.clone();
            Reply::new(move |answer| sender.send(answer).unwrap())
        };
        requests.ask(Verb::Pause, reply());
        let Some(Event::Request(Verb::Pause, asked)) = mailbox.take() else { panic!("no request") };
        asked.send(Ok(Done::Finished));
        assert_eq!(answers.recv().unwrap(), Ok(Done::Finished));
        requests.ask(Verb::Reset, reply());
        mailbox.close();
        assert_eq!(answers.recv().unwrap().unwrap_err().kind, RefusalKind::Unavailable);
        // Too late: the machine has ended.
        requests.ask(Verb::Reset, reply());
        assert_eq!(answers.recv().unwrap().unwrap_err().kind, RefusalKind::Unavailable);
        assert!(answers.try_recv().is_err());
    }
}
