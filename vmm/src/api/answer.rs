//! How a request is answered: at once, later, or for as long as the client stays.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use vmm_sys_util::eventfd::EventFd;

use super::failure;
use super::http::Response;

/// What becomes of a request.
pub enum Answer {
    /// This is said.
    Now(Response),
    /// A [`Responder`] will say it.
    Later,
    /// This is said, and then what the stream has to say.
    Stream(Response, Box<dyn Stream>),
    /// The same, but HTTP ends with the response, and all that follows is the stream's.
    Upgrade(Response, Box<dyn Stream>),
}

/// Whether a stream has more to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It may have, later.
    Goes,
    /// It has not.
    Ends,
}

/// Something that a client is told piece by piece. It is called whenever something may have changed, on the API's thread, and
/// must not block.
pub trait Stream: Send {
    /// Takes what it wants of what the client has sent.
    fn take(&mut self, _input: &mut Vec<u8>) {}

    /// Adds what there is to say now to `out`: some ten thousand bytes at most, if there is more to come.
    fn advance(&mut self, out: &mut Vec<u8>) -> Progress;

    /// Adds the last there is to say to `out`, because the machine has ended.
    fn farewell(&mut self, _out: &mut Vec<u8>) {}

    /// When it is to be called again, if nothing changes before.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether it waits for a client that does not read, however long that takes.
    fn waits_for_reader(&self) -> bool {
        false
    }
}

/// Responses that were made on other threads.
#[derive(Debug)]
pub(super) struct Completions {
    made: Mutex<Vec<(u64, Response)>>,
    wake: Arc<EventFd>,
}

impl Completions {
    /// None yet; `wake` is written when there are.
    pub(super) fn new(wake: Arc<EventFd>) -> Self {
        Self { made: Mutex::default(), wake }
    }

    /// A way to answer what the connection with this number asked.
    pub(super) fn responder(self: &Arc<Self>, connection: u64) -> Responder {
        Responder { to: Arc::clone(self), connection, is_due: true }
    }

    /// Takes all that there are, with the numbers of their connections.
    pub(super) fn take(&self) -> Vec<(u64, Response)> {
        std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, connection: u64, response: Response) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push((connection, response));
        // A full counter is a pending wake-up, too.
        let _ = self.wake.write(1);
    }
}

/// The way back to one client, from any thread. Dropped without a word, it says that the machine has ended.
#[derive(Debug)]
pub struct Responder {
    to: Arc<Completions>,
    connection: u64,
    is_due: bool,
}

impl Responder {
    /// Answers. Never blocks; a client that is gone is no fault.
    pub fn answer(mut self, response: Response) {
        self.is_due = false;
        self.to.add(self.connection, response);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.is_due {
            self.to.add(self.connection, failure::unavailable("the machine has ended"));
        }
    }
}
