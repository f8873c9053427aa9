//! A receive queue: the link's frames go to where the guest wants them.
//!
//! Buffers that the driver offered wait in a window, ready for the next frame, which is read straight into them. The
//! window is as large as recent frames needed. A frame that is longer than the window ends in the spill, and is
//! completed by copying from there to further buffers, so that no frame is cut and no guess has to be right.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use net::{FrameQueue, HEADER_LEN};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};
use vmm_sys_util::epoll::EventSet;

use super::counters::QueueCounters;
use super::features::{CTRL_RX, CTRL_VLAN, MRG_RXBUF};
use super::filter::{DECISIVE, Mode};
use super::ports::RxPort;
use super::settings::{Settings, View};
use super::window::WindowSize;
use super::{NetShared, rx_chain};
use crate::virtio::buffers::{Buffers, usize_len, write_at};
use crate::virtio::limit::Brake;
use crate::virtio::worker::{KICK, QueueHandler, Ready, Watch, yield_turn};
use crate::virtio::{Ring, RingError, Taken};

use rx_chain::RxChain;

/// Token of the link.
const LINK: u32 = 1;
/// Token of the timer that ends a wait for the rate limit.
const LIMIT: u32 = 2;
/// Token of the link's bell.
const BELL: u32 = 3;
/// Frames and bad chains handled before other queues of the thread have their turn.
const TURN: usize = 256;
/// Frames received before the driver may be interrupted.
const BATCH: usize = 32;

pub(super) struct RxQueue {
    ring: Ring,
    port: RxPort,
    shared: Arc<NetShared>,
    buffers: Buffers,
    /// Chains whose buffers wait in the port.
    waiting: VecDeque<RxChain>,
    /// Bytes that those hold.
    capacity: u32,
    window: WindowSize,
    mergeable: bool,
    /// The chains of the frame being put together, with the bytes in each.
    frame: Vec<(u16, u32)>,
    /// Where the number of the frame's chains belongs.
    count_at: [GuestAddress; 2],
    /// Where in the spill the rest of the frame is.
    spilled: Option<std::ops::Range<usize>>,
    /// The driver's buffers ran out; its notification is being waited for.
    starving: bool,
    /// The turn ended before the work did.
    yielded: bool,
    brake: Brake,
    settings: View<Settings>,
    pair: usize,
}

/// How a turn goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Frame,
    Starve,
    Idle,
}

impl RxQueue {
    pub(super) fn new(ring: Ring, queue: Box<dyn FrameQueue>, pair: u16, shared: Arc<NetShared>) -> Self {
        let longest = shared.config.longest_frame(shared.link.as_ref(), ring.features());
        Self {
            port: RxPort::new(queue, ring.mem().clone()),
            mergeable: ring.features() & MRG_RXBUF != 0,
            window: WindowSize::new(longest),
            settings: View::new(&shared.settings),
            ring,
            shared,
            buffers: Buffers::default(),
            waiting: VecDeque::new(),
            capacity: 0,
            frame: Vec::new(),
            count_at: [GuestAddress(0); 2],
            spilled: None,
            starving: false,
            yielded: false,
            brake: Brake::default(),
            pair: usize::from(pair),
        }
    }

    /// Counts something; the queue's counters are there.
    fn count(&self, count: impl FnOnce(&QueueCounters)) {
        if let Some(counters) = self.shared.counters.rx.get(self.pair) {
            count(counters);
        }
    }

    fn serve(&mut self) -> Result<(), RingError> {
        self.ring.disable_notification()?;
        self.starving = false;
        self.yielded = false;
        for turn in 1..=TURN {
            if self.brake.holds(&self.shared.rx_limit) {
                return self.ring.notify();
            }
            match self.step()? {
                Next::Frame => {}
                Next::Idle => return self.ring.notify(),
                Next::Starve => {
                    self.ring.notify()?;
                    if !self.ring.enable_notification()? {
                        self.starving = true;
                        return Ok(());
                    }
                }
            }
            if turn % BATCH == 0 {
                self.ring.notify()?;
            }
        }
        self.yielded = true;
        yield_turn(&self.ring);
        self.ring.notify()
    }

    /// Receives a frame, or gets on with the one that is incomplete.
    fn step(&mut self) -> Result<Next, RingError> {
        if self.spilled.is_some() {
            return self.take_from_spill();
        }
        self.refill()?;
        if self.waiting.is_empty() {
            return Ok(Next::Starve);
        }
        let limit = self.window.longest();
        match self.port.receive(self.capacity < limit) {
            // Not a frame but the end of the link, where links have one.
            Ok(0) => Ok(Next::Idle),
            Ok(len) => self.received(u32::try_from(len).unwrap_or(u32::MAX)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Next::Idle),
            // The interface is gone or down. If it comes back, its descriptor says so.
            Err(_) => Ok(Next::Idle),
        }
    }

    /// Lets chains wait until the window is full. Without mergeable buffers each frame gets one chain.
    fn refill(&mut self) -> Result<(), RingError> {
        let mut bad = 0;
        while (self.mergeable && self.capacity < self.window.wanted()) || self.waiting.is_empty() {
            let Some(Taken { head, form }) = self.ring.take(&mut self.buffers)? else { return Ok(()) };
            let checked = form.and_then(|()| RxChain::check(head, &self.buffers));
            let pieces = self.buffers.writable.len();
            if checked.is_ok() && !self.waiting.is_empty() && !self.port.has_room(pieces) {
                self.ring.put_back();
                return Ok(());
            }
            match checked.and_then(|chain| Ok((chain, self.port.post(&self.buffers.writable)?))) {
                Ok((chain, bufs)) => {
                    self.capacity = self.capacity.saturating_add(chain.len);
                    self.waiting.push_back(RxChain { bufs, ..chain });
                }
                Err(_) => {
                    self.reject(head)?;
                    bad += 1;
                    if bad == TURN {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn reject(&mut self, head: u16) -> Result<(), RingError> {
        self.count(|counters| counters.malformed.bump());
        self.ring.push_used(head, 0)
    }

    /// A frame of `len` bytes is in the waiting buffers and, if they are too small for it, in the spill.
    fn received(&mut self, len: u32) -> Result<Next, RingError> {
        let fits = self.mergeable || len <= self.capacity;
        if !fits || len <= HEADER_LEN || !self.shared.link_up.load(Ordering::Relaxed) {
            self.count(|counters| counters.dropped.bump());
            return Ok(Next::Frame);
        }
        if !self.is_wanted() {
            self.count(|counters| counters.filtered.bump());
            return Ok(Next::Frame);
        }
        self.window.saw(len);
        let mut left = len;
        self.frame.clear();
        while left > 0
            && let Some(chain) = self.waiting.pop_front()
        {
            if self.frame.is_empty() {
                self.count_at = chain.count_at;
            }
            let part = left.min(chain.len);
            left -= part;
            self.capacity = self.capacity.saturating_sub(chain.len);
            self.port.consume(chain.bufs);
            self.frame.push((chain.head, part));
        }
        if left == 0 {
            return self.complete();
        }
        self.spilled = Some(0..usize_len(left));
        self.take_from_spill()
    }

    /// Whether the driver asked for the frame just received.
    fn is_wanted(&mut self) -> bool {
        let features = self.ring.features();
        let settings = self.settings.current(&self.shared.settings);
        if features & CTRL_RX == 0 || settings.filter.has(Mode::Promiscuous) {
            return true;
        }
        let mut start = [0; DECISIVE];
        self.port.peek(usize_len(HEADER_LEN), &mut start);
        settings.filter.wants(&start, settings.mac, features & CTRL_VLAN != 0)
    }

    /// Copies the rest of a frame to further chains.
    fn take_from_spill(&mut self) -> Result<Next, RingError> {
        let Some(rest) = self.spilled.take() else { return Ok(Next::Frame) };
        let Some(Taken { head, form }) = self.ring.take(&mut self.buffers)? else {
            self.spilled = Some(rest);
            return Ok(Next::Starve);
        };
        let checked = form.and_then(|()| RxChain::check(head, &self.buffers));
        let data = self.port.spill().get(rest.clone()).unwrap_or_default();
        let copied = checked.and_then(|chain| {
            let part = data.get(..data.len().min(usize_len(chain.len)));
            let part = part.unwrap_or_default();
            write_at(self.ring.mem(), &self.buffers.writable, 0, part)?;
            Ok(part.len())
        });
        let Ok(copied) = copied else {
            self.spilled = Some(rest);
            self.reject(head)?;
            return Ok(Next::Frame);
        };
        self.frame.push((head, u32::try_from(copied).unwrap_or(u32::MAX)));
        if copied < rest.len() {
            self.spilled = Some(rest.start + copied..rest.end);
            return Ok(Next::Frame);
        }
        self.complete()
    }

    /// Writes how many chains the frame takes into its header, and hands all of them to the driver together.
    fn complete(&mut self) -> Result<Next, RingError> {
        let count = u16::try_from(self.frame.len()).unwrap_or(u16::MAX);
        self.write_count(count).map_err(virtio_queue::Error::GuestMemory)?;
        self.ring.push_used_together(&self.frame)?;
        let len = self.frame.iter().map(|(_, part)| u64::from(*part)).sum();
        self.count(|counters| counters.frame(len));
        self.shared.rx_limit.charge(len.saturating_sub(u64::from(HEADER_LEN)));
        self.frame.clear();
        Ok(Next::Frame)
    }
}

impl RxQueue {
    /// The chain was checked when it was posted, so that this does not fail.
    fn write_count(&self, count: u16) -> Result<(), GuestMemoryError> {
        let [low, high] = self.count_at;
        if low.0.wrapping_add(1) == high.0 {
            return self.ring.mem().write_obj(count.to_le(), low);
        }
        let [first, second] = count.to_le_bytes();
        self.ring.mem().write_obj(first, low)?;
        self.ring.mem().write_obj(second, high)
    }
}

impl QueueHandler for RxQueue {
    const NAME: &'static str = "virtio-net receive queue";

    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn start(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.brake = Brake::new(&self.shared.rx_limit, LIMIT, watch)?;
        // Edge-triggered, and read until it is empty: no system call is needed to stop or go on waiting.
        let edges = EventSet::IN | EventSet::EDGE_TRIGGERED;
        let bell = self.port.bell();
        if watch.add(self.port.fd(), LINK, edges) && bell.is_none_or(|bell| watch.add(bell, BELL, edges)) {
            return self.serve();
        }
        Err(RingError::Unwatched)
    }

    fn wake(&mut self, ready: Ready, _watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        if ready.token == BELL {
            self.port.rang();
        }
        // More buffers are of no interest while there are enough.
        if ready.token == KICK && !self.starving && !self.yielded {
            return Ok(());
        }
        let served = self.serve();
        if let Some(counters) = self.shared.counters.rx.get(self.pair) {
            counters.woken(&mut self.ring);
        }
        served
    }

    /// Chains that hold no whole frame go back to the driver's ring, to be taken again at the next start; a frame
    /// without all of its buffers is lost.
    fn end(&mut self) {
        if self.spilled.take().is_some() {
            self.count(|counters| counters.dropped.bump());
        } else {
            self.frame.clear();
        }
        for _ in 0..self.waiting.len() + self.frame.len() {
            self.ring.put_back();
        }
        self.waiting.clear();
        self.frame.clear();
    }
}
