//! What the workers of all devices have in common: their events, and what becomes of a broken ring.

use std::os::fd::{AsRawFd, RawFd};

use event_manager::{EventOps, Events, MutEventSubscriber};
use virtio_queue::QueueState;
use vmm_sys_util::epoll::EventSet;

use super::{Ring, RingError};
use crate::io_thread::Worker;

/// Token of the driver's notification.
pub(crate) const KICK: u32 = 0;

/// The part of a worker that knows its device.
pub(crate) trait QueueHandler: Send {
    /// What the queue is, in messages.
    const NAME: &'static str;

    /// The queue.
    fn ring(&self) -> &Ring;

    /// Called once on the I/O thread: watches what else there is to watch and does what can be done at once,
    /// because buffers may be waiting whose notification is long past.
    fn start(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError>;

    /// Something that is watched happened.
    ///
    /// # Errors
    /// The ring is broken; the handler is not called again except to end.
    fn wake(&mut self, ready: Ready, watch: &mut Watch<'_, '_>) -> Result<(), RingError>;

    /// Ends the work in flight.
    fn end(&mut self) {}
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// [`KICK`], or the token that the descriptor is watched with.
    pub(crate) token: u32,
    /// What epoll says of it.
    pub(crate) events: EventSet,
}

/// A handler on its I/O thread.
pub(crate) struct QueueWorker<H> {
    handler: H,
    watched: Vec<RawFd>,
    broken: bool,
}

impl<H: QueueHandler + 'static> QueueWorker<H> {
    /// A worker ready for an I/O thread.
    pub(crate) fn boxed(handler: H) -> Box<dyn Worker> {
        Box::new(Self { handler, watched: Vec::new(), broken: false })
    }

    /// The queue cannot go on: says so, tells the driver, and watches nothing any more.
    fn fail(&mut self, error: &RingError, ops: &mut EventOps) {
        let log = self.handler.ring().events().log();
        log.say(format_args!("{} stopped until the guest resets the device: {error}", H::NAME));
        self.broken = true;
        while let Some(&fd) = self.watched.last() {
            Watch { ops, watched: &mut self.watched }.remove(fd);
        }
        self.handler.ring().events().needs_reset();
    }
}

impl<H: QueueHandler + 'static> MutEventSubscriber for QueueWorker<H> {
    fn init(&mut self, ops: &mut EventOps) {
        let kick = self.handler.ring().kick().as_raw_fd();
        let mut watch = Watch { ops, watched: &mut self.watched };
        // Edge-triggered: every notification wakes the thread without the counter having to be read back.
        let watching = watch.add(kick, KICK, EventSet::IN | EventSet::EDGE_TRIGGERED);
        let started = if watching { self.handler.start(&mut watch) } else { Err(RingError::Unwatched) };
        if let Err(error) = started {
            self.fail(&error, ops);
        }
    }

    fn process(&mut self, events: Events, ops: &mut EventOps) {
        if self.broken {
            return;
        }
        let ready = Ready { token: events.data(), events: events.event_set() };
        let mut watch = Watch { ops, watched: &mut self.watched };
        if let Err(error) = self.handler.wake(ready, &mut watch) {
            self.fail(&error, ops);
        }
    }
}

impl<H: QueueHandler + 'static> Worker for QueueWorker<H> {
    fn stop(mut self: Box<Self>) -> QueueState {
        self.handler.end();
        self.handler.ring().state()
    }
}

/// The descriptors that a worker waits on.
pub(crate) struct Watch<'a, 'b> {
    ops: &'a mut EventOps<'b>,
    watched: &'a mut Vec<RawFd>,
}

impl Watch<'_, '_> {
    /// Watches `fd`; false if it is not a thing that can be waited on, or the host has no room.
    pub(crate) fn add(&mut self, fd: RawFd, token: u32, events: EventSet) -> bool {
        let added = self.ops.add(Events::with_data_raw(fd, token, events)).is_ok();
        if added {
            self.watched.push(fd);
        }
        added
    }

    /// Watches `fd` no more. Has to come before the descriptor is closed.
    pub(crate) fn remove(&mut self, fd: RawFd) {
        if let Some(at) = self.watched.iter().position(|watched| *watched == fd) {
            self.watched.swap_remove(at);
            // It fails only for what is not watched.
            let _ = self.ops.remove(Events::empty_raw(fd));
        }
    }
}

/// Wakes the worker of `ring` again, after others on its thread had their turn.
pub(crate) fn yield_turn(ring: &Ring) {
    // A full counter is a pending wake-up, too.
    let _ = ring.kick().write(1);
}
