//! A transmit queue: the guest's frames go to the link from where they are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use net::{FrameQueue, HEADER_LEN};
use vmm_sys_util::epoll::EventSet;

use super::NetShared;
use super::config::MAX_FRAME;
use super::lull::{self, Lull};
use super::ports::{SendError, TxPort};
use crate::virtio::buffers::{Buffers, total};
use crate::virtio::feature::RING_EVENT_IDX;
use crate::virtio::limit::Brake;
use crate::virtio::worker::{QueueHandler, Ready, Watch, yield_turn};
use crate::virtio::{Ring, RingError, Taken};

/// Token of the link.
const LINK: u32 = 1;
/// Token of the timer that ends a wait for the rate limit.
const LIMIT: u32 = 2;
/// Token of the timer that ends a wait for more frames.
const LULL: u32 = 3;
/// Frames sent before other queues of the thread have their turn.
const TURN: usize = 256;
/// Frames sent before their buffers are given back.
const BATCH: usize = 32;
/// A frame has at least an Ethernet header.
const MIN_FRAME: u64 = HEADER_LEN as u64 + 14;

pub(super) struct TxQueue {
    ring: Ring,
    port: TxPort,
    shared: Arc<NetShared>,
    buffers: Buffers,
    /// Chains sent or dropped, and not yet returned.
    done: Vec<(u16, u32)>,
    /// The link has no room; it is being waited for.
    blocked: bool,
    brake: Brake,
    lull: Lull,
    pair: usize,
}

/// What became of a chain.
enum Sent {
    Done,
    Blocked,
}

impl TxQueue {
    pub(super) fn new(ring: Ring, queue: Box<dyn FrameQueue>, pair: u16, shared: Arc<NetShared>) -> Self {
        let port = TxPort::new(queue, ring.mem().clone(), ring.features());
        let (buffers, done) = (Buffers::default(), Vec::new());
        let (blocked, brake, lull) = (false, Brake::default(), Lull::default());
        Self { ring, port, shared, buffers, done, blocked, brake, lull, pair: usize::from(pair) }
    }

    fn serve(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.ring.disable_notification()?;
        let mut taken = 0;
        loop {
            let mut limited = self.brake.holds(&self.shared.tx_limit);
            while taken < TURN
                && !limited
                && let Some(chain) = self.ring.take(&mut self.buffers)?
            {
                taken += 1;
                if let Sent::Blocked = self.send(chain) {
                    self.ring.put_back();
                    self.ring.give_back(&mut self.done)?;
                    return self.wait_for_room(watch);
                }
                if self.done.len() >= BATCH {
                    self.ring.give_back(&mut self.done)?;
                }
                limited = self.brake.holds(&self.shared.tx_limit);
            }
            self.lull.end(taken);
            self.ring.give_back(&mut self.done)?;
            if limited {
                return Ok(());
            }
            if taken == TURN {
                yield_turn(&self.ring);
                return Ok(());
            }
            if !self.ask_for_more(taken > 0)? {
                return Ok(());
            }
        }
    }

    /// Asks for the driver's next notification, after a burst for one that comes later; true if there is more already.
    fn ask_for_more(&mut self, in_burst: bool) -> Result<bool, RingError> {
        if in_burst && self.lull.begin() {
            return self.ring.enable_notification_after(lull::FRAMES);
        }
        self.ring.enable_notification()
    }

    fn send(&mut self, Taken { head, form }: Taken) -> Sent {
        let Some(counters) = self.shared.counters.tx.get(self.pair) else { return Sent::Done };
        let frame = match form {
            Ok(()) if self.buffers.writable.is_empty() => &self.buffers.readable,
            _ => {
                counters.malformed.bump();
                self.done.push((head, 0));
                return Sent::Done;
            }
        };
        let len = total(frame);
        if !(MIN_FRAME..=u64::from(MAX_FRAME)).contains(&len) {
            counters.malformed.bump();
        } else if !self.shared.link_up.load(Ordering::Relaxed) {
            counters.dropped.bump();
        } else {
            match self.port.send(frame, len) {
                Ok(()) => {
                    counters.frame(len);
                    self.shared.tx_limit.charge(len - u64::from(HEADER_LEN));
                }
                Err(SendError::Busy) => return Sent::Blocked,
                Err(SendError::Refused) => counters.dropped.bump(),
                Err(SendError::Chain) => counters.malformed.bump(),
            }
        }
        self.done.push((head, 0));
        Sent::Done
    }

    /// The link is registered anew each time: a tap tells of room only to those who asked after it ran out.
    fn wait_for_room(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.blocked = true;
        if watch.add(self.port.fd(), LINK, EventSet::OUT) { Ok(()) } else { Err(RingError::Unwatched) }
    }
}

impl QueueHandler for TxQueue {
    const NAME: &'static str = "virtio-net transmit queue";

    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn start(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.brake = Brake::new(&self.shared.tx_limit, LIMIT, watch)?;
        // Without an event index the driver can only be asked for all notifications or for none.
        if self.ring.features() & RING_EVENT_IDX != 0 {
            self.lull = Lull::new(LULL, watch);
        }
        self.serve(watch)
    }

    fn wake(&mut self, ready: Ready, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        if self.blocked {
            if ready.token != LINK {
                return Ok(());
            }
            watch.remove(self.port.fd());
            self.blocked = false;
        }
        let served = self.serve(watch);
        if let Some(counters) = self.shared.counters.tx.get(self.pair) {
            counters.woken(&mut self.ring);
        }
        served
    }
}
