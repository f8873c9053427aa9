//! A running virtqueue with everything its worker needs of the machine.

use std::num::Wrapping;

use virtio_queue::{Queue, QueueState};
use vmm_sys_util::eventfd::EventFd;

use super::buffers::{BadChain, Buffers};
use super::rings::Rings;
use super::walk::Walk;
use super::{DeviceEvents, QueueInterrupt};
use crate::GuestRam;

/// Flag of the available ring: the driver wants no interrupts (virtio 1.3 §2.7.6).
const AVAIL_NO_INTERRUPT: u16 = 1;
/// Flag of the used ring: the device wants no notifications (virtio 1.3 §2.7.10).
const USED_NO_NOTIFY: u16 = 1;

/// A chain of descriptors that the driver made available, taken off the ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// Its first descriptor, which names it when it is returned.
    pub(crate) head: u16,
    /// Whether it has the form of a chain.
    pub(crate) form: Result<(), BadChain>,
}

/// The driver broke the ring; the queue cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// Indices do not make sense.
    #[error("the driver's ring is broken: {0}")]
    Queue(#[from] virtio_queue::Error),
    /// The rings are not in memory, or not aligned as they have to be.
    #[error("the driver's rings do not lie in memory")]
    OutsideRam,
    /// A chain came again before the device had returned it.
    #[error("the driver made descriptor {0} available twice")]
    Reused(u16),
    /// The host has no room to wait for the queue's backend.
    #[error("the queue's backend cannot be waited for")]
    Unwatched,
}

/// A split virtqueue that its worker owns.
#[derive(Debug)]
pub struct Ring {
    /// Where the queue was when it started.
    state: QueueState,
    /// Where its parts lie, if they lie in RAM.
    rings: Option<Rings>,
    mem: GuestRam,
    kick: EventFd,
    interrupt: QueueInterrupt,
    events: DeviceEvents,
    features: u64,
    event_index: bool,
    /// Number of the next chain to take.
    next: Wrapping<u16>,
    /// Number of the next chain to return.
    used: Wrapping<u16>,
    /// Used index that the driver was last told of.
    notified: Wrapping<u16>,
    /// Available index as last read from the driver.
    available: Wrapping<u16>,
    /// Interrupts sent since somebody asked.
    interrupts: u64,
}

impl Ring {
    /// A ring over a valid queue. `kick` is readable when the driver made buffers available; `features` are the
    /// negotiated ones.
    pub fn new(
        queue: Queue,
        mem: GuestRam,
        kick: EventFd,
        interrupt: QueueInterrupt,
        events: DeviceEvents,
        features: u64,
    ) -> Self {
        let event_index = features & super::feature::RING_EVENT_IDX != 0;
        let state = QueueState { event_idx_enabled: event_index, ..queue.state() };
        let (next, used) = (Wrapping(state.next_avail), Wrapping(state.next_used));
        Self {
            rings: Rings::find(&mem, &state),
            state,
            mem,
            kick,
            interrupt,
            events,
            features,
            event_index,
            next,
            used,
            notified: used,
            available: next,
            interrupts: 0,
        }
    }

    fn rings(&self) -> Result<&Rings, RingError> {
        self.rings.as_ref().ok_or(RingError::OutsideRam)
    }

    /// The descriptor to wait on for the driver's notifications.
    pub fn kick(&self) -> &EventFd {
        &self.kick
    }

    /// Negotiated features.
    pub fn features(&self) -> u64 {
        self.features
    }

    /// Guest memory, for addresses taken out of a chain.
    pub fn mem(&self) -> &GuestRam {
        &self.mem
    }

    /// Reports to the driver that concern the whole device.
    pub fn events(&self) -> &DeviceEvents {
        &self.events
    }

    /// Takes the next available chain, if there is one, and puts what it names into `buffers`.
    ///
    /// # Errors
    /// The ring cannot be read, or the driver's index ran ahead of its size.
    pub(crate) fn take(&mut self, buffers: &mut Buffers) -> Result<Option<Taken>, RingError> {
        let rings = self.rings.as_ref().ok_or(RingError::OutsideRam)?;
        if self.available == self.next {
            self.available = Wrapping(rings.available_index());
            if self.available == self.next {
                return Ok(None);
            }
        }
        if (self.available - self.next).0 > self.state.size {
            return Err(virtio_queue::Error::InvalidAvailRingIndex.into());
        }
        let head = rings.available_head(self.next.0);
        self.next += 1;
        Ok(Some(Taken { head, form: buffers.load(Walk::new(&self.mem, rings, self.state.size, head)) }))
    }

    /// Puts what a chain names that was taken before, and not returned yet, into `buffers` once more.
    ///
    /// # Errors
    /// There is no such descriptor.
    pub(crate) fn take_again(&mut self, head: u16, buffers: &mut Buffers) -> Result<Taken, RingError> {
        if head >= self.state.size {
            return Err(virtio_queue::Error::InvalidDescriptorIndex.into());
        }
        let chain = Walk::new(&self.mem, self.rings()?, self.state.size, head);
        Ok(Taken { head, form: buffers.load(chain) })
    }

    /// Puts back the chain taken last, as if it had not been taken.
    pub fn put_back(&mut self) {
        self.next -= 1;
    }

    /// Returns the chain that starts at `head` to the driver, with `written` bytes filled by the device.
    pub fn push_used(&mut self, head: u16, written: u32) -> Result<(), RingError> {
        self.push_used_together(&[(head, written)])
    }

    /// Returns several chains (head and bytes filled) so that the driver sees all of them at once or none.
    pub fn push_used_together(&mut self, chains: &[(u16, u32)]) -> Result<(), RingError> {
        if chains.iter().any(|(head, _)| *head >= self.state.size) {
            return Err(virtio_queue::Error::InvalidDescriptorIndex.into());
        }
        let rings = self.rings.as_ref().ok_or(RingError::OutsideRam)?;
        if ram::is_logging(&self.mem) {
            chains.iter().for_each(|(head, _)| self.mark_written(rings, *head));
        }
        for (head, written) in chains {
            rings.set_used(self.used.0, *head, *written);
            self.used += 1;
        }
        rings.set_used_index(self.used.0);
        Ok(())
    }

    /// Marks all that the device may have written for a chain, which it still has, in guest memory. A driver that has
    /// changed the chain meanwhile may miss what was written at the place that it named before.
    fn mark_written(&self, rings: &Rings, head: u16) {
        for descriptor in Walk::new(&self.mem, rings, self.state.size, head) {
            if descriptor.is_write_only() {
                ram::mark(&self.mem, descriptor.addr(), descriptor.len().into());
            }
        }
    }

    /// Returns all of `done` and interrupts the driver if it wants to know; leaves `done` empty.
    pub fn give_back(&mut self, done: &mut Vec<(u16, u32)>) -> Result<(), RingError> {
        if done.is_empty() {
            return Ok(());
        }
        self.push_used_together(done)?;
        done.clear();
        self.notify()
    }

    /// Interrupts the driver if it wants to know of what was pushed since the last call.
    pub fn notify(&mut self) -> Result<(), RingError> {
        let before = std::mem::replace(&mut self.notified, self.used);
        if self.used != before && self.wants_interrupt(before)? {
            self.interrupt();
        }
        Ok(())
    }

    /// Whether the driver asked to hear of the used index moving from `before` to where it is (virtio 1.3 §2.7.7).
    fn wants_interrupt(&self, before: Wrapping<u16>) -> Result<bool, RingError> {
        let rings = self.rings()?;
        // The index must be visible before the driver's wish is read, or both sides could wait for each other.
        Rings::settle();
        if !self.event_index {
            return Ok(rings.available_flags() & AVAIL_NO_INTERRUPT == 0);
        }
        let event = Wrapping(rings.used_event());
        Ok(self.used - event - Wrapping(1) < self.used - before)
    }

    /// Interrupts the driver whatever it wants.
    pub(crate) fn interrupt(&mut self) {
        self.interrupt.signal();
        self.interrupts += 1;
    }

    /// What interrupts the driver, for whoever lends it to the kernel.
    pub(crate) fn interrupter(&self) -> &QueueInterrupt {
        &self.interrupt
    }

    /// The queue stands at chain number `next`: all before it have been taken and returned, by somebody else.
    pub(crate) fn move_to(&mut self, next: u16) {
        let next = Wrapping(next);
        (self.next, self.used, self.notified, self.available) = (next, next, next, next);
    }

    /// How many interrupts were sent since the last call.
    pub(crate) fn take_interrupts(&mut self) -> u64 {
        std::mem::take(&mut self.interrupts)
    }

    /// Asks the driver for notifications; true if buffers became available meanwhile, so that the caller has to
    /// look again.
    pub fn enable_notification(&mut self) -> Result<bool, RingError> {
        let rings = self.rings()?;
        if self.event_index {
            rings.set_available_event(self.next.0);
        } else {
            rings.set_used_flags(0);
        }
        // What was just written must be visible before the index is read, or a notification could be missed.
        Rings::settle();
        Ok(rings.available_index() != self.next.0)
    }

    /// Asks for a notification once the driver has made `count` more chains available; true if it has done so meanwhile.
    /// Without an event index it will notify of the first.
    pub(crate) fn enable_notification_after(&mut self, count: u16) -> Result<bool, RingError> {
        if !self.event_index {
            return self.enable_notification();
        }
        let rings = self.rings()?;
        rings.set_available_event((self.next + Wrapping(count) - Wrapping(1)).0);
        Rings::settle();
        Ok((Wrapping(rings.available_index()) - self.next).0 >= count)
    }

    /// Tells the driver that notifications are not needed while the worker is at it. With an event index there is
    /// nothing to tell: the driver has passed it.
    pub fn disable_notification(&mut self) -> Result<(), RingError> {
        let rings = self.rings()?;
        if !self.event_index {
            rings.set_used_flags(USED_NO_NOTIFY);
        }
        Ok(())
    }

    /// Where the queue stands; what the worker's `stop` returns.
    pub fn state(&self) -> QueueState {
        QueueState { next_avail: self.next.0, next_used: self.used.0, ..self.state }
    }
}
