//! What the guest tells of its memory (virtio 1.3 §5.5.6.3).

use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

use super::BalloonCounters;
use crate::lock;
use crate::virtio::buffers::{Buffers, read_at, total};
use crate::virtio::worker::{KICK, QueueHandler, Ready, Watch};
use crate::virtio::{Ring, RingError, Taken};

/// Bytes of one statistic: a tag of 16 bits, a value of 64.
const ENTRY: usize = 10;
/// Most statistics looked at; the specification knows 16.
const MOST_ENTRIES: usize = 64;
/// Token of a request for fresh statistics.
const ASKED: u32 = 1;

/// The guest's own account of its memory. It may leave out anything, and may lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStats {
    /// Bytes swapped in.
    pub swap_in: Option<u64>,
    /// Bytes swapped out.
    pub swap_out: Option<u64>,
    /// Page faults that needed I/O.
    pub major_faults: Option<u64>,
    /// Other page faults.
    pub minor_faults: Option<u64>,
    /// Bytes that nothing is in.
    pub free: Option<u64>,
    /// Bytes that there are.
    pub total: Option<u64>,
    /// Bytes that programs could have without swapping.
    pub available: Option<u64>,
    /// Bytes of disk caches, which can be had back at once.
    pub disk_caches: Option<u64>,
    /// Huge pages given to programs.
    pub hugetlb_allocations: Option<u64>,
    /// Huge pages that programs did not get.
    pub hugetlb_failures: Option<u64>,
    /// Programs killed for want of memory.
    pub oom_kills: Option<u64>,
}

impl MemoryStats {
    fn set(&mut self, tag: u16, value: u64) {
        let field = match tag {
            0 => &mut self.swap_in,
            1 => &mut self.swap_out,
            2 => &mut self.major_faults,
            3 => &mut self.minor_faults,
            4 => &mut self.free,
            5 => &mut self.total,
            6 => &mut self.available,
            7 => &mut self.disk_caches,
            8 => &mut self.hugetlb_allocations,
            9 => &mut self.hugetlb_failures,
            10 => &mut self.oom_kills,
            _ => return,
        };
        *field = Some(value);
    }
}

/// The statistics that came last, and the way to ask for newer ones.
#[derive(Debug)]
pub(super) struct Statistics {
    last: Mutex<Option<(Instant, MemoryStats)>>,
    ask: EventFd,
}

impl Statistics {
    pub(super) fn new(ask: EventFd) -> Self {
        Self { last: Mutex::default(), ask }
    }

    /// What came last. Asks for newer ones if these are older than `age`.
    pub(super) fn get(&self, age: Duration) -> Option<MemoryStats> {
        let last = *lock(&self.last);
        // Nothing has come yet: there is no buffer by which the driver could be asked.
        if last.is_some_and(|(at, _)| at.elapsed() >= age) {
            // A full counter is a pending request, too.
            let _ = self.ask.write(1);
        }
        last.map(|(_, stats)| stats)
    }

    /// Forgets everything: another driver comes.
    pub(super) fn clear(&self) {
        *lock(&self.last) = None;
    }
}

/// The queue. The driver's one buffer stays here until somebody wants fresh statistics: returning it is the question.
pub(super) struct StatsQueue {
    ring: Ring,
    buffers: Buffers,
    statistics: Arc<Statistics>,
    counters: Arc<BalloonCounters>,
    /// Head of the buffer that the driver filled last.
    held: Option<u16>,
}

impl StatsQueue {
    pub(super) fn new(ring: Ring, statistics: Arc<Statistics>, counters: Arc<BalloonCounters>) -> Self {
        Self { ring, buffers: Buffers::default(), statistics, counters, held: None }
    }

    /// Takes what the driver sent. More buffers than one are not in the protocol: all but the last go back at once, a
    /// ring of them at most before others have their turn.
    fn take(&mut self) -> Result<(), RingError> {
        for _ in 0..self.ring.state().size {
            let Some(Taken { head, form }) = self.ring.take(&mut self.buffers)? else { break };
            if let Some(older) = self.held.replace(head) {
                self.ring.push_used(older, 0)?;
            }
            let stats = form.ok().and_then(|()| self.read());
            match stats {
                Some(_) => self.counters.statistics.bump(),
                None => self.counters.rejected.bump(),
            }
            *lock(&self.statistics.last) = Some((Instant::now(), stats.unwrap_or_default()));
        }
        self.ring.notify()
    }

    /// The statistics in the chain taken last.
    fn read(&self) -> Option<MemoryStats> {
        let length = usize::try_from(total(&self.buffers.readable)).ok()?;
        let mut bytes = vec![0; (length / ENTRY).min(MOST_ENTRIES) * ENTRY];
        read_at(self.ring.mem(), &self.buffers.readable, 0, &mut bytes).ok()?;
        let mut stats = MemoryStats::default();
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        for [t0, t1, value @ ..] in entries {
            stats.set(u16::from_le_bytes([*t0, *t1]), u64::from_le_bytes(*value));
        }
        Some(stats)
    }

    /// Asks the driver for fresh statistics, if it has left a buffer for it.
    fn ask(&mut self) -> Result<(), RingError> {
        let _ = self.statistics.ask.read();
        let Some(head) = self.held.take() else { return Ok(()) };
        self.ring.push_used(head, 0)?;
        self.ring.notify()
    }
}

impl QueueHandler for StatsQueue {
    const NAME: &'static str = "virtio-balloon's statistics queue";

    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn start(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        if !watch.add(self.statistics.ask.as_raw_fd(), ASKED, EventSet::IN) {
            return Err(RingError::Unwatched);
        }
        self.take()
    }

    fn wake(&mut self, ready: Ready, _watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        match ready.token {
            KICK => self.take(),
            _ => self.ask(),
        }
    }

    /// Who starts the queue again finds the buffer as if it had just come.
    fn end(&mut self) {
        if self.held.take().is_some() {
            self.ring.put_back();
        }
    }
}
