//! The queue of everything that the state driver has to react to.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use devices::pci::{PciAddress, SlotEvent};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{LookOrder, Release, Reply, SaveOrder, Verb};
use crate::agent::AgentReport;
use crate::demand::News;
use crate::migration::machine::MigrationReport;
use crate::plan::Storage;
use crate::vcpu::GuestEvent;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// In the guest.
    Guest(GuestEvent),
    /// A disk holds back what the host cannot do.
    DiskFault {
        /// Its name.
        disk: String,
        /// What the host cannot do, and why.
        fault: String,
    },
    /// The machine's disks were looked at.
    DisksLooked {
        /// Some have to be looked at from time to time.
        again: bool,
    },
    /// The guest has taken the address that it is told by DHCP.
    Leased {
        /// Name of the card.
        card: String,
        /// The address.
        address: IpAddr,
    },
    /// The guest did something with the slot of a root port, which has or had the device of this address in it.
    Slot(PciAddress, SlotEvent),
    /// The user asked on the console to end the machine.
    Escape,
    /// Somebody asks something of the machine.
    Request(Verb, Reply),
    /// Somebody wants to look at the machine.
    Look(LookOrder),
    /// Somebody wants the machine's state.
    Save(SaveOrder),
    /// The machine stands still, since `stopped`, for somebody who wants its state.
    Stopped {
        /// When it was stopped.
        stopped: Instant,
        /// Who wants its state.
        order: SaveOrder,
    },
    /// Disks of these names go on in other storage.
    DisksMoved(Vec<(String, Storage)>),
    /// Whoever got the machine's state gives it back.
    Released(Release),
    /// Something is wrong with the memory that the machine was brought back with.
    Damaged(String),
    /// There is news of the guest's agent, or of probes.
    Agent(AgentReport),
    /// There is news of a migration.
    Migration(MigrationReport),
    /// The machine, which stayed or was taken back, runs at this address as well.
    RunsElsewhere(String),
    /// There is news of a memory that is not all here.
    Memory(News),
    /// The guest's agent was asked to reboot the guest, and will not.
    NoReboot,
}

impl Event {
    /// Whether it is of no more interest once the guest in which it happened is gone.
    fn is_of_guest(&self) -> bool {
        match self {
            Self::Guest(_)
            | Self::DiskFault { .. }
            | Self::DisksLooked { .. }
            | Self::Leased { .. }
            | Self::Damaged(_)
            | Self::Memory(_)
            | Self::NoReboot => true,
            Self::Slot(..)
            | Self::Escape
            | Self::Request(..)
            | Self::Agent(_)
            | Self::Look(_)
            | Self::Save(_)
            | Self::Stopped { .. }
            | Self::Migration(_)
            | Self::RunsElsewhere(_)
            | Self::DisksMoved(_)
            | Self::Released(_) => false,
        }
    }
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
    queue: Mutex<Queue>,
    ready: EventFd,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    /// Nobody will take any more.
    closed: bool,
}

impl Mailbox {
    /// An empty queue.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Inner { queue: Mutex::default(), ready: EventFd::new(EFD_NONBLOCK)? })))
    }

    /// Adds an event; a queue that is closed drops it.
    pub fn post(&self, event: Event) {
        let mut queue = self.queue();
        if queue.closed {
            // Dropping a request answers it, which is nothing to be done under a lock.
            drop(queue);
            return drop(event);
        }
        queue.events.push_back(event);
        drop(queue);
        // The counter can only overflow while it is readable, so a failed write loses nothing.
        let _ = self.0.ready.write(1);
    }

    /// Takes the oldest event.
    pub fn take(&self) -> Option<Event> {
        let mut queue = self.queue();
        if queue.events.len() <= 1 {
            let _ = self.0.ready.read();
        }
        queue.events.pop_front()
    }

    /// Forgets what happened in a guest that is gone; what others asked for stays.
    pub fn forget_guest(&self) {
        self.queue().events.retain(|event| !event.is_of_guest());
    }

    /// Drops all events, and those that come from now on.
    pub fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        let left = std::mem::take(&mut queue.events);
        drop(queue);
        drop(left);
    }

    /// Readable while there are events.
    pub fn ready(&self) -> &EventFd {
        &self.0.ready
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
