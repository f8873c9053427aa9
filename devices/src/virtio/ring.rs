//! A running virtqueue with everything its worker needs of the machine.

use std::num::Wrapping;
use std::sync::atomic::Ordering;

use virtio_queue::{DescriptorChain, Queue, QueueState, QueueT};
use vmm_sys_util::eventfd::EventFd;

use super::{DeviceEvents, QueueInterrupt};
use crate::GuestRam;

/// A chain of descriptors that the driver made available.
pub type Chain = DescriptorChain<GuestRam>;

/// The driver broke the ring; the queue cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// Ring or indices do not make sense.
    #[error("the driver's ring is broken: {0}")]
    Queue(#[from] virtio_queue::Error),
}

/// A split virtqueue that its worker owns.
#[derive(Debug)]
pub struct Ring {
    queue: Queue,
    mem: GuestRam,
    kick: EventFd,
    interrupt: QueueInterrupt,
    events: DeviceEvents,
    features: u64,
}

impl Ring {
    /// A ring over a valid queue. `kick` is readable when the driver made buffers available; `features` are the
    /// negotiated ones.
    pub fn new(
        mut queue: Queue,
        mem: GuestRam,
        kick: EventFd,
        interrupt: QueueInterrupt,
        events: DeviceEvents,
        features: u64,
    ) -> Self {
        queue.set_event_idx(features & super::feature::RING_EVENT_IDX != 0);
        Self { queue, mem, kick, interrupt, events, features }
    }

    /// The descriptor to wait on for the driver's notifications.
    pub fn kick(&self) -> &EventFd {
        &self.kick
    }

    /// Negotiated features.
    pub fn features(&self) -> u64 {
        self.features
    }

    /// Guest memory, for addresses taken out of a [`Chain`].
    pub fn mem(&self) -> &GuestRam {
        &self.mem
    }

    /// Reports to the driver that concern the whole device.
    pub fn events(&self) -> &DeviceEvents {
        &self.events
    }

    /// The next available chain, if there is one.
    ///
    /// # Errors
    /// The driver's index ran ahead of the ring's size.
    pub fn pop(&mut self) -> Result<Option<Chain>, RingError> {
        let available = self.queue.avail_idx(self.mem.as_ref(), Ordering::Acquire)?;
        let waiting = available - Wrapping(self.queue.next_avail());
        if waiting.0 == 0 {
            return Ok(None);
        }
        if waiting.0 > self.queue.size() {
            return Err(virtio_queue::Error::InvalidAvailRingIndex.into());
        }
        Ok(self.queue.pop_descriptor_chain(self.mem.clone()))
    }

    /// Puts back the chain popped last, as if it had not been popped.
    pub fn unpop(&mut self) {
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(1));
    }

    /// Returns the chain that starts at `head` to the driver, with `written` bytes filled by the device.
    pub fn push_used(&mut self, head: u16, written: u32) -> Result<(), RingError> {
        Ok(self.queue.add_used(self.mem.as_ref(), head, written)?)
    }

    /// Interrupts the driver if it wants to know of what was pushed since the last call.
    pub fn notify(&mut self) -> Result<(), RingError> {
        if self.queue.needs_notification(self.mem.as_ref())? {
            self.interrupt.signal();
        }
        Ok(())
    }

    /// Asks the driver for notifications; true if buffers became available meanwhile, so that the caller has to
    /// look again.
    pub fn enable_notification(&mut self) -> Result<bool, RingError> {
        Ok(self.queue.enable_notification(self.mem.as_ref())?)
    }

    /// Tells the driver that notifications are not needed while the worker is at it.
    pub fn disable_notification(&mut self) -> Result<(), RingError> {
        Ok(self.queue.disable_notification(self.mem.as_ref())?)
    }

    /// Where the queue stands; what the worker's `stop` returns.
    pub fn state(&self) -> QueueState {
        self.queue.state()
    }
}
