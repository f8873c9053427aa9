//! A running virtqueue with everything its worker needs of the machine.

use std::num::Wrapping;
use std::sync::atomic::{Ordering, fence};

use virtio_queue::{Queue, QueueOwnedT, QueueState, QueueT};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use super::buffers::{BadChain, Buffers};
use super::walk::Walk;
use super::{DeviceEvents, QueueInterrupt};
use crate::GuestRam;

/// Flag of the available ring: the driver wants no interrupts (virtio 1.3 §2.7.6).
const AVAIL_NO_INTERRUPT: u16 = 1;

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
    /// Ring or indices do not make sense.
    #[error("the driver's ring is broken: {0}")]
    Queue(#[from] virtio_queue::Error),
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
    queue: Queue,
    mem: GuestRam,
    kick: EventFd,
    interrupt: QueueInterrupt,
    events: DeviceEvents,
    features: u64,
    /// Used index that the driver was last told of.
    notified: u16,
    /// Available index as last read from the driver.
    available: Wrapping<u16>,
    /// Interrupts sent since somebody asked.
    interrupts: u64,
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
        let notified = queue.next_used();
        let available = Wrapping(queue.next_avail());
        Self { queue, mem, kick, interrupt, events, features, notified, available, interrupts: 0 }
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

    /// Takes the next available chain, if there is one, and puts what it names into `buffers`.
    ///
    /// # Errors
    /// The ring cannot be read, or the driver's index ran ahead of its size.
    pub(crate) fn take(&mut self, buffers: &mut Buffers) -> Result<Option<Taken>, RingError> {
        let next = Wrapping(self.queue.next_avail());
        if self.available == next {
            self.available = self.queue.avail_idx(self.mem.as_ref(), Ordering::Acquire)?;
            if self.available == next {
                return Ok(None);
            }
        }
        if (self.available - next).0 > self.queue.size() {
            return Err(virtio_queue::Error::InvalidAvailRingIndex.into());
        }
        // The memory is lent, not shared: workers on different threads would all count the same references. Something
        // waits, so that nothing coming out means a ring that cannot be read.
        let chain = self.queue.iter(self.mem.as_ref())?.next();
        let chain = chain.ok_or(virtio_queue::Error::QueueNotReady)?;
        Ok(Some(Taken { head: chain.head_index(), form: buffers.load(chain) }))
    }

    /// Puts what a chain names that was taken before, and not returned yet, into `buffers` once more.
    ///
    /// # Errors
    /// There is no such descriptor.
    pub(crate) fn take_again(&mut self, head: u16, buffers: &mut Buffers) -> Result<Taken, RingError> {
        if head >= self.queue.size() {
            return Err(virtio_queue::Error::InvalidDescriptorIndex.into());
        }
        let table = GuestAddress(self.queue.desc_table());
        let chain = Walk::new(&self.mem, table, self.queue.size(), head);
        Ok(Taken { head, form: buffers.load(chain) })
    }

    /// Puts back the chain taken last, as if it had not been taken.
    pub fn put_back(&mut self) {
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(1));
    }

    /// Returns the chain that starts at `head` to the driver, with `written` bytes filled by the device.
    pub fn push_used(&mut self, head: u16, written: u32) -> Result<(), RingError> {
        Ok(self.queue.add_used(self.mem.as_ref(), head, written)?)
    }

    /// Returns several chains (head and bytes filled) so that the driver sees all of them at once or none.
    pub fn push_used_together(&mut self, chains: &[(u16, u32)]) -> Result<(), RingError> {
        let Some((&(last, written), others)) = chains.split_last() else { return Ok(()) };
        let first = self.queue.next_used();
        let mut next = first;
        for &(head, written) in others {
            self.write_used(next, head, written)?;
            next = next.wrapping_add(1);
        }
        // The last one brings the index, and with it all others, into view.
        self.queue.set_next_used(next);
        self.queue
            .add_used(self.mem.as_ref(), last, written)
            .inspect_err(|_| self.queue.set_next_used(first))?;
        Ok(())
    }

    /// Fills an element of the used ring without making it visible (virtio 1.3 §2.7.8).
    fn write_used(&self, index: u16, head: u16, written: u32) -> Result<(), RingError> {
        let size = self.queue.size();
        let slot = index.checked_rem(size).filter(|_| head < size);
        let slot = slot.ok_or(virtio_queue::Error::InvalidDescriptorIndex)?;
        let element = u64::from(head) | u64::from(written) << 32;
        let address = self.address(self.queue.used_ring(), 4 + u64::from(slot) * 8)?;
        self.mem.write_obj(element.to_le(), address).map_err(virtio_queue::Error::GuestMemory)?;
        Ok(())
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
        let pushed = self.queue.next_used();
        let before = std::mem::replace(&mut self.notified, pushed);
        if pushed != before && self.wants_interrupt(before, pushed)? {
            self.interrupt.signal();
            self.interrupts += 1;
        }
        Ok(())
    }

    /// Interrupts the driver whatever it wants.
    pub(crate) fn interrupt(&mut self) {
        self.interrupt.signal();
        self.interrupts += 1;
    }

    /// The queue stands at chain number `next`: all before it have been taken and returned, by somebody else.
    pub(crate) fn move_to(&mut self, next: u16) {
        self.queue.set_next_avail(next);
        self.queue.set_next_used(next);
        self.available = Wrapping(next);
        self.notified = next;
    }

    /// How many interrupts were sent since the last call.
    pub(crate) fn take_interrupts(&mut self) -> u64 {
        std::mem::take(&mut self.interrupts)
    }

    /// Whether the driver asked to hear of the used index moving from `before` to `now` (virtio 1.3 §2.7.7).
    fn wants_interrupt(&self, before: u16, now: u16) -> Result<bool, RingError> {
        // The index must be visible before the driver's wish is read, or both sides could wait for each other.
        fence(Ordering::SeqCst);
        if !self.queue.event_idx_enabled() {
            return Ok(self.load(self.queue.avail_ring(), 0)? & AVAIL_NO_INTERRUPT == 0);
        }
        let event = self.load(self.queue.avail_ring(), 4 + u64::from(self.queue.size()) * 2)?;
        Ok(now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before))
    }

    fn load(&self, base: u64, offset: u64) -> Result<u16, RingError> {
        let address = self.address(base, offset)?;
        let value =
            self.mem.load::<u16>(address, Ordering::Relaxed).map_err(virtio_queue::Error::GuestMemory)?;
        Ok(u16::from_le(value))
    }

    fn address(&self, base: u64, offset: u64) -> Result<GuestAddress, RingError> {
        Ok(base.checked_add(offset).map(GuestAddress).ok_or(virtio_queue::Error::AddressOverflow)?)
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
