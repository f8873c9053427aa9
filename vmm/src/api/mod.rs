//! The API: HTTP/1.1 and JSON on the unix socket `api.sock`, with Kubernetes' own paths, so that its clients need nothing new.
//!
//! One thread serves all clients and is never blocked by one: requests are bounded in size and time, answers wait in a
//! bounded buffer. It holds a sender to the state driver and reads the board; it never touches the machine.
//!
//! A [`router::Route`] is a path, a method and a function; those of a subject are a file in [`routes`].

mod answer;
mod connection;
mod console;
pub mod duration;
pub mod failure;
#[cfg(fuzzing)]
pub mod hostile;
pub mod http;
mod limits;
pub(crate) mod migration;
mod output;
pub mod patch;
pub mod router;
pub mod routes;
mod selector;
mod server;
#[cfg(test)]
mod tests;
mod watch;
pub(crate) mod websocket;

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub use answer::{Answer, Progress, Responder, Stream};
pub use router::{Call, Route, Routes, Shape};

use crate::agent::AgentHandle;
use crate::console::ConsoleHub;
use crate::metrics::Metrics;
use crate::state::Requests;
use crate::status::Board;
use answer::Completions;
use router::Router;

/// The API's socket in the runtime directory.
pub const SOCKET: &str = "api.sock";

pub(crate) use routes::{CONSOLE_ROLE, CONSOLE_TYPIST};

/// What the API has of the machine.
#[derive(Clone, Debug)]
pub struct ApiContext {
    /// Where to ask for something.
    pub requests: Requests,
    /// Where to see how it is.
    pub board: Board,
    /// Where to ask something of the guest's agent, if kubevmm speaks to it.
    pub agent: Option<AgentHandle>,
    /// The serial console.
    pub console: ConsoleHub,
    /// What is counted of it.
    pub metrics: Metrics,
    /// Whether it is to be forgotten when it has ended.
    pub deletion: Deletion,
}

/// Whether somebody asked for a machine not only to end, but to leave nothing. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Deletion(Arc<AtomicBool>);

impl Deletion {
    /// Somebody did.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether somebody did.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A running API; dropping it lets clients read the last that is said, for half a second, and ends it.
#[derive(Debug)]
pub struct Api {
    _thread: server::Thread,
}

impl Api {
    /// Serves whoever connects to `listener` and is root or the user that this process acts as. Answers are made from
    /// `context` by the first of `routes` that fits.
    ///
    /// # Errors
    /// The host has no descriptors or threads left.
    pub fn serve<C: Send + 'static>(
        listener: UnixListener,
        context: C,
        routes: Routes<C>,
    ) -> io::Result<Self> {
        let wake = Arc::new(EventFd::new(EFD_NONBLOCK)?);
        let completions = Arc::new(Completions::new(Arc::clone(&wake)));
        let router = Router::new(context, routes, Arc::clone(&completions), Arc::clone(&wake));
        Ok(Self { _thread: server::Thread::spawn(listener, wake, completions, router)? })
    }
}
