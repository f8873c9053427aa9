//! Queues that the kernel serves (`/dev/vhost-net`). What is left here is to start and stop them, and to tell the kernel
//! where their interrupts go. As long as the guest's vector is not masked, the kernel interrupts the guest by itself; what it
//! signals otherwise is passed on from here.
#![expect(
    unsafe_code,
    reason = "the kernel is given guest memory by its addresses; they are vouched for here"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use ::net::{Layout, Region, Side, Signals, VhostNet};
use event_manager::{EventOps, Events, MutEventSubscriber};
use virtio_queue::QueueState;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::NetShared;
use super::features::MRG_RXBUF;
use super::noted::Noted;
use crate::io_thread::Worker;
use crate::lock;
use crate::virtio::Ring;
use crate::virtio::feature::{RING_EVENT_IDX, RING_INDIRECT_DESC, VERSION_1};

/// Features that the kernel's queues have to know of.
const QUEUE_FEATURES: u64 = MRG_RXBUF | RING_INDIRECT_DESC | RING_EVENT_IDX | VERSION_1;

/// The kernel's workers of a card, one a queue pair.
#[derive(Debug)]
pub(super) struct Vhosts {
    pairs: Vec<Arc<VhostNet>>,
    /// Queues that run; held while the link goes up or down.
    running: Mutex<Vec<(u16, Side)>>,
    noted: Noted,
}

impl Vhosts {
    pub(super) fn new(pairs: Vec<Arc<VhostNet>>) -> Self {
        let noted = Noted::new(&pairs);
        Self { pairs, running: Mutex::default(), noted }
    }

    /// What the kernel notes of its writes.
    pub(super) fn noted(&self) -> &Noted {
        &self.noted
    }

    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The features that the kernel does not know of.
    pub(super) fn unknown(&self) -> u64 {
        let known =
            self.pairs.iter().map(|pair| pair.features().unwrap_or(0)).fold(u64::MAX, |all, one| all & one);
        QUEUE_FEATURES & !known
    }

    fn pair(&self, pair: u16) -> io::Result<&Arc<VhostNet>> {
        self.pairs.get(usize::from(pair)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Connects all queues that run with their taps, or with nothing while the link is down.
    pub(super) fn set_link(&self, shared: &NetShared) {
        let running = lock(&self.running);
        let up = shared.link_up.load(Ordering::Acquire);
        for (pair, side) in running.iter() {
            let tap = shared.link.kernel_queue(*pair).filter(|_| up);
            // What fails here is a tap that has gone, which loses frames either way.
            let _ = self.pair(*pair).and_then(|vhost| vhost.connect(*side, tap));
        }
    }
}

/// Where a queue's rings are in this process.
fn layout(ring: &Ring) -> io::Result<Layout> {
    let state = ring.state();
    let size = usize::from(state.size);
    let place = |address: u64, len: usize| {
        let slice = ring.mem().get_slice(GuestAddress(address), len).map_err(io::Error::other)?;
        u64::try_from(slice.ptr_guard_mut().as_ptr().addr()).map_err(io::Error::other)
    };
    Ok(Layout {
        size: state.size,
        next: state.next_avail,
        descriptors: place(state.desc_table, size * 16)?,
        // Both rings end with a field for the event index (virtio 1.3 §2.7).
        available: place(state.avail_ring, 4 + size * 2 + 2)?,
        used: place(state.used_ring, 4 + size * 8 + 2)?,
        used_guest: state.used_ring,
    })
}

fn regions(ring: &Ring) -> io::Result<Vec<Region>> {
    let region = |region: &ram::RamRegion| {
        Ok(Region {
            guest: region.start_addr().0,
            host: u64::try_from(region.as_ptr().addr()).map_err(io::Error::other)?,
            len: region.len(),
        })
    };
    ring.mem().iter().map(region).collect()
}

/// A queue that the kernel serves.
pub(super) struct VhostQueue {
    ring: Ring,
    shared: Arc<NetShared>,
    pair: u16,
    side: Side,
    /// Signalled by the kernel while it does not interrupt the guest by itself.
    call: Arc<EventFd>,
}

impl VhostQueue {
    /// Starts the queue.
    pub(super) fn start(
        ring: Ring,
        pair: u16,
        side: Side,
        shared: Arc<NetShared>,
    ) -> io::Result<Box<dyn Worker>> {
        let call = Arc::new(EventFd::new(EFD_NONBLOCK)?);
        let queue = Self { ring, shared, pair, side, call };
        queue.hand_over()?;
        Ok(Box::new(queue))
    }

    fn hand_over(&self) -> io::Result<()> {
        let (ring, shared) = (&self.ring, &self.shared);
        let vhosts = shared.vhosts.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let vhost = vhosts.pair(self.pair)?;
        let tap = shared.link.kernel_queue(self.pair).ok_or(io::ErrorKind::Unsupported)?;
        let layout = layout(ring)?;
        let signals = Signals { kick: borrow(ring.kick()), call: borrow(&self.call) };
        let features = ring.features() & QUEUE_FEATURES;
        // Held until the queue is on the list, so that it misses no change of the link.
        let mut running = lock(&vhosts.running);
        // SAFETY: `ring` keeps the memory mapped, and is stopped before it is dropped (`Drop`); guest memory is only
        // reached through raw pointers; `layout` was checked to lie in it.
        unsafe { vhost.start(self.side, features, &regions(ring)?, &layout, signals, tap)? };
        if !shared.link_up.load(Ordering::Acquire) {
            vhost.connect(self.side, None)?;
        }
        running.push((self.pair, self.side));
        // Buffers may be waiting whose notification is long past. A full counter is a pending one, too.
        let _ = ring.kick().write(1);
        Ok(())
    }

    /// Lets the kernel interrupt the guest by itself, if the guest's vector is ready for that.
    fn lend_interrupt(&self) {
        let Some(vhost) = self.shared.vhosts.as_ref().and_then(|vhosts| vhosts.pair(self.pair).ok()) else {
            return;
        };
        let side = self.side;
        let (kernel, call) = (Arc::clone(vhost), Arc::clone(&self.call));
        // It fails only for a queue that is not there.
        let recall = move || drop(kernel.set_call(side, borrow(&call)));
        self.ring.interrupter().lend(|irqfd| vhost.set_call(side, borrow(irqfd)).is_ok(), Box::new(recall));
    }

    /// Takes the queue back from the kernel.
    fn take_back(&mut self) {
        self.ring.interrupter().recall();
        let Some(vhosts) = &self.shared.vhosts else { return };
        let mut running = lock(&vhosts.running);
        let Some(at) = running.iter().position(|queue| *queue == (self.pair, self.side)) else { return };
        running.swap_remove(at);
        // It fails only for what does not run.
        if let Ok(next) = vhosts.pair(self.pair).and_then(|vhost| vhost.stop(self.side)) {
            self.ring.move_to(next);
        }
        // The card may be gone when somebody asks next.
        vhosts.noted.collect();
    }
}

impl Drop for VhostQueue {
    fn drop(&mut self) {
        self.take_back();
    }
}

fn borrow(fd: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open for as long as the EventFd lives, which the borrow does not outlive.
    unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}

impl MutEventSubscriber for VhostQueue {
    fn init(&mut self, ops: &mut EventOps) {
        let events = Events::with_data(&self.call, 0, EventSet::IN | EventSet::EDGE_TRIGGERED);
        if ops.add(events).is_err() {
            self.ring.events().needs_reset();
        }
    }

    /// What came before the vector was ready, or while it was masked. The interrupt makes the vector's route.
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        self.ring.interrupt();
        self.lend_interrupt();
    }
}

impl Worker for VhostQueue {
    fn stop(mut self: Box<Self>) -> QueueState {
        self.take_back();
        // What the kernel signalled last may not have been passed on; an interrupt too many does no harm.
        self.ring.interrupt();
        self.ring.state()
    }
}
