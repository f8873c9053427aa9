//! The queue of everything that the state driver has to react to.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::vcpu::GuestEvent;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// In the guest.
    Guest(GuestEvent),
    /// A disk holds back what the host cannot do, and says this of it.
    DiskFault(String),
    /// The user asked on the console to end the machine.
    Escape,
}

impl From<GuestEvent> for Event {
    fn from(event: GuestEvent) -> Self {
        Self::Guest(event)
    }
}

/// Sender and receiver of events; clones are the same queue.
#[derive(Clone, Debug)]
pub struct Mailbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Mutex<VecDeque<Event>>,
    ready: EventFd,
}

impl Mailbox {
    /// An empty queue.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Inner { queue: Mutex::default(), ready: EventFd::new(EFD_NONBLOCK)? })))
    }

    /// Adds an event.
    pub fn post(&self, event: Event) {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
        // The counter can only overflow while it is readable, so a failed write loses nothing.
        let _ = self.0.ready.write(1);
    }

    /// Takes the oldest event.
    pub fn take(&self) -> Option<Event> {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() <= 1 {
            let _ = self.0.ready.read();
        }
        queue.pop_front()
    }

    /// Forgets what happened in a guest that is gone; what the user asked for stays.
    pub fn forget_guest(&self) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.retain(|event| !matches!(event, Event::Guest(_) | Event::DiskFault(_)));
    }

    /// Readable while there are events.
    pub fn ready(&self) -> &EventFd {
        &self.0.ready
    }
}
