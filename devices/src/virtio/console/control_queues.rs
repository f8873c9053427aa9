//! The two control queues (virtio 1.3 §5.3.6.2).

use std::os::fd::AsRawFd;
use std::sync::Arc;

use vmm_sys_util::epoll::EventSet;

use super::ConsoleShared;
use super::control::Effect;
use super::message::{FromDriver, HEADER_LEN};
use super::port::wake;
use crate::GuestRam;
use crate::lock;
use crate::virtio::buffers::{BadChain, Buffers, read_at, write_at};
use crate::virtio::responder::Responder;
use crate::virtio::worker::{QueueHandler, Ready, Watch, yield_turn};
use crate::virtio::{Ring, RingError, Taken};

/// Token of messages to be sent.
const OUTBOX: u32 = 1;
/// Messages handled before other queues of the thread have their turn.
const TURN: usize = 64;

/// Messages for the driver.
pub(super) struct ToDriverQueue {
    ring: Ring,
    shared: Arc<ConsoleShared>,
    buffers: Buffers,
}

impl ToDriverQueue {
    pub(super) fn new(ring: Ring, shared: Arc<ConsoleShared>) -> Self {
        Self { ring, shared, buffers: Buffers::default() }
    }

    fn serve(&mut self) -> Result<(), RingError> {
        self.ring.disable_notification()?;
        for _ in 0..TURN {
            let Some(message) = lock(&self.shared.control).next_message() else { return self.ring.notify() };
            match self.ring.take(&mut self.buffers)? {
                Some(chain) => self.send(chain, &message)?,
                None => {
                    self.ring.notify()?;
                    if !self.ring.enable_notification()? {
                        return Ok(());
                    }
                }
            }
        }
        yield_turn(&self.ring);
        self.ring.notify()
    }

    /// Sends what was the next message when this thread looked. Should it have changed meanwhile, the driver hears of
    /// the change as well, because only what was sent is marked as told.
    fn send(&mut self, Taken { head, form }: Taken, message: &[u8]) -> Result<(), RingError> {
        let sent = form.and_then(|()| write_at(self.ring.mem(), &self.buffers.writable, 0, message)).is_ok();
        if !sent {
            self.shared.counters.malformed.bump();
            return self.ring.push_used(head, 0);
        }
        let mut control = lock(&self.shared.control);
        if control.next_message().as_deref() == Some(message) {
            control.told();
        }
        drop(control);
        self.ring.push_used(head, u32::try_from(message.len()).unwrap_or(0))
    }
}

impl QueueHandler for ToDriverQueue {
    const NAME: &'static str = "virtio-console control queue";

    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn start(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        let outbox = self.shared.outbox.as_raw_fd();
        if !watch.add(outbox, OUTBOX, EventSet::IN | EventSet::EDGE_TRIGGERED) {
            return Err(RingError::Unwatched);
        }
        self.serve()
    }

    fn wake(&mut self, _ready: Ready, _watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.serve()
    }
}

/// What takes messages from the driver.
pub(super) struct FromDriverMessages(pub(super) Arc<ConsoleShared>);

impl Responder for FromDriverMessages {
    const NAME: &'static str = "virtio-console control queue";

    fn respond(&mut self, mem: &GuestRam, request: Result<&Buffers, BadChain>) -> u32 {
        if !request.is_ok_and(|buffers| self.receive(mem, buffers)) {
            self.0.counters.refused_messages.bump();
        }
        0
    }
}

impl FromDriverMessages {
    /// Takes a message; false if it makes no sense.
    fn receive(&self, mem: &GuestRam, buffers: &Buffers) -> bool {
        let mut bytes = [0; HEADER_LEN];
        let read = read_at(mem, &buffers.readable, 0, &mut bytes).is_ok();
        let Some(message) = FromDriver::decode(bytes).filter(|_| read) else { return false };
        let Ok(effect) = lock(&self.0.control).handle(message) else { return false };
        if let Effect::GuestOpen(index, open) = effect
            && let Some(port) = self.0.ports.get(index)
        {
            port.set_open_in_guest(open);
            wake(&port.input_wake);
        }
        wake(&self.0.outbox);
        true
    }
}
