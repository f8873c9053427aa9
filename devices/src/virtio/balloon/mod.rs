//! virtio-balloon: memory that the guest lends to the host (virtio 1.3 §5.5).
//!
//! The host says how many pages it would like (`num_pages`), the guest's driver gives up pages it can spare and says so
//! page by page; their memory goes back to the host at once. Besides, the guest reports pages that happen to be free, and,
//! when somebody asks, statistics. All of it is the guest's good will: what it sends is checked against its RAM, and the
//! worst that it can do is to lose its own memory's contents.

mod fill;
mod pages;
mod stats;
mod sys;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use virtio_queue::QueueState;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub use self::stats::MemoryStats;

use self::fill::{Deflate, Inflate, Report};
use self::pages::PAGE;
use self::stats::{Statistics, StatsQueue};
use super::config_space::ConfigSpace;
use super::notice::ConfigNotice;
use super::responder::responder;
use super::worker::QueueWorker;
use super::{Counter, DeviceState, Ring, StartError, VirtioDevice, VirtioId, feature};
use crate::io_thread::{IoHandle, RunningWorker};

/// VIRTIO_BALLOON_F_STATS_VQ: there is a queue for statistics.
const STATS_VQ: u64 = 1 << 1;
/// VIRTIO_BALLOON_F_DEFLATE_ON_OOM: the guest takes pages back before it kills programs for want of memory.
const DEFLATE_ON_OOM: u64 = 1 << 2;
/// VIRTIO_BALLOON_F_PAGE_REPORTING: there is a queue for free pages.
const PAGE_REPORTING: u64 = 1 << 5;

/// Inflate, deflate, statistics, reports.
const QUEUE_SIZES: [u16; 4] = [128, 128, 16, 128];
const STATE_VERSION: u32 = 1;

/// Saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonState {
    /// Layout of this struct.
    pub version: u32,
    /// Pages of 4 KiB that the host would like.
    pub wanted_pages: u32,
    /// Pages of 4 KiB that the driver says are in the balloon.
    pub actual_pages: u32,
}

/// What a balloon did.
#[derive(Debug, Default)]
pub struct BalloonCounters {
    /// Pages of 4 KiB that the guest put in.
    pub inflated_pages: Counter,
    /// Pages of 4 KiB that the guest took out.
    pub deflated_pages: Counter,
    /// Bytes that the guest reported free.
    pub reported_bytes: Counter,
    /// Bytes given back to the host.
    pub released_bytes: Counter,
    /// Bytes that stayed because they are reserved huge pages.
    pub kept_bytes: Counter,
    /// Ranges that the host did not take back.
    pub failed: Counter,
    /// Times that statistics came.
    pub statistics: Counter,
    /// Requests and ranges that made no sense.
    pub rejected: Counter,
}

/// What a balloon is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalloonConfig {
    /// Bytes of guest RAM.
    pub ram_bytes: u64,
    /// The guest may report free pages.
    pub reporting: bool,
}

/// The machine cannot have so much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest can have 1 to {most} MiB of memory, not {wanted} bytes")]
pub struct BadSize {
    /// Bytes asked for.
    pub wanted: u64,
    /// Most MiB, with which it was started.
    pub most: u64,
}

/// What front and handles have in common.
#[derive(Debug)]
struct Shared {
    config: BalloonConfig,
    wanted: AtomicU32,
    actual: AtomicU32,
    notice: ConfigNotice,
    statistics: Arc<Statistics>,
    counters: Arc<BalloonCounters>,
}

/// A balloon.
#[derive(Debug)]
pub struct BalloonDevice {
    thread: IoHandle,
    shared: Arc<Shared>,
    workers: [Option<RunningWorker>; QUEUE_SIZES.len()],
}

/// What others may ask of a balloon while the machine runs.
#[derive(Clone, Debug)]
pub struct BalloonHandle(Arc<Shared>);

impl BalloonHandle {
    /// Asks the guest to get by on `bytes` of memory, in whole pages. The guest follows as fast and as far as it can and
    /// wants to; see [`BalloonHandle::current_bytes`].
    ///
    /// # Errors
    /// It is more than the guest was started with, or less than 1 MiB.
    pub fn set_memory(&self, bytes: u64) -> Result<(), BadSize> {
        let shared = &self.0;
        let ram = shared.config.ram_bytes;
        let pages = ram.checked_sub(bytes).filter(|_| bytes >= 1 << 20).map(|left| left / PAGE);
        let pages = pages.and_then(|pages| u32::try_from(pages).ok());
        let pages = pages.ok_or(BadSize { wanted: bytes, most: ram >> 20 })?;
        if shared.wanted.swap(pages, Ordering::AcqRel) != pages {
            shared.notice.config_changed();
        }
        Ok(())
    }

    /// Bytes that the guest is asked to get by on.
    pub fn wanted_bytes(&self) -> u64 {
        self.without(&self.0.wanted)
    }

    /// Bytes that the guest has, as its driver says.
    pub fn current_bytes(&self) -> u64 {
        self.without(&self.0.actual)
    }

    /// The guest's statistics as they came last, if they ever did. If they are older than `age`, the guest is asked for
    /// new ones, for the next call. Nobody else asks: a guest whose statistics nobody wants is left alone.
    pub fn statistics(&self, age: Duration) -> Option<MemoryStats> {
        self.0.statistics.get(age)
    }

    /// What the device did so far.
    pub fn counters(&self) -> &BalloonCounters {
        &self.0.counters
    }

    fn without(&self, pages: &AtomicU32) -> u64 {
        let taken = u64::from(pages.load(Ordering::Acquire)).saturating_mul(PAGE);
        self.0.config.ram_bytes.saturating_sub(taken)
    }
}

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Inflate,
    Deflate,
    Stats,
    Report,
}

impl Role {
    /// The queue of this index. Queues of features that the driver did not accept do not exist, and those behind them move
    /// up (virtio 1.3 §5.5.2, as Linux numbers them).
    fn of(index: u16, features: u64) -> Option<Self> {
        let all =
            [(Self::Inflate, 0), (Self::Deflate, 0), (Self::Stats, STATS_VQ), (Self::Report, PAGE_REPORTING)];
        let mut present = all.into_iter().filter(|(_, needed)| features & needed == *needed);
        present.nth(index.into()).map(|(role, _)| role)
    }
}

impl BalloonDevice {
    /// A balloon whose queues run on `thread`; nothing is wanted yet.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn new(config: BalloonConfig, thread: IoHandle) -> io::Result<Self> {
        let ask = EventFd::new(EFD_NONBLOCK)?;
        let shared = Shared {
            config,
            wanted: AtomicU32::new(0),
            actual: AtomicU32::new(0),
            notice: ConfigNotice::default(),
            statistics: Arc::new(Statistics::new(ask)),
            counters: Arc::default(),
        };
        Ok(Self { thread, shared: Arc::new(shared), workers: [const { None }; QUEUE_SIZES.len()] })
    }

    /// A handle that outlives the device's move into its transport.
    pub fn handle(&self) -> BalloonHandle {
        BalloonHandle(Arc::clone(&self.shared))
    }
}

impl VirtioDevice for BalloonDevice {
    fn id(&self) -> VirtioId {
        VirtioId::Balloon
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        let reporting = if self.shared.config.reporting { PAGE_REPORTING } else { 0 };
        feature::RING_EVENT_IDX | feature::RING_INDIRECT_DESC | STATS_VQ | DEFLATE_ON_OOM | reporting
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut space = ConfigSpace::default();
        space.put(0, &self.shared.wanted.load(Ordering::Acquire).to_le_bytes());
        space.put(ACTUAL_OFFSET, &self.shared.actual.load(Ordering::Acquire).to_le_bytes());
        space.read(offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let (Ok(ACTUAL_OFFSET), Ok(actual)) = (usize::try_from(offset), <[u8; 4]>::try_from(data)) {
            self.shared.actual.store(u32::from_le_bytes(actual), Ordering::Release);
        }
    }

    fn start_queue(&mut self, index: u16, ring: Ring) -> Result<(), StartError> {
        let slot = self.workers.get_mut(usize::from(index)).filter(|slot| slot.is_none());
        let slot = slot.ok_or(StartError::NoSuchQueue(index))?;
        let role = Role::of(index, ring.features()).ok_or(StartError::NoSuchQueue(index))?;
        self.shared.notice.connect(&ring);
        let counters = Arc::clone(&self.shared.counters);
        let worker = match role {
            Role::Inflate => responder(ring, Inflate(counters)),
            Role::Deflate => responder(ring, Deflate(counters)),
            Role::Report => responder(ring, Report(counters)),
            Role::Stats => {
                QueueWorker::boxed(StatsQueue::new(ring, Arc::clone(&self.shared.statistics), counters))
            }
        };
        *slot = Some(self.thread.start(worker)?);
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        self.workers.get_mut(usize::from(index))?.take()?.stop().ok()
    }

    /// What the host wants stays: the next driver is asked for it, too.
    fn reset(&mut self) {
        self.shared.notice.disconnect();
        self.shared.actual.store(0, Ordering::Release);
        self.shared.statistics.clear();
    }

    fn save(&self) -> DeviceState {
        DeviceState::Balloon(BalloonState {
            version: STATE_VERSION,
            wanted_pages: self.shared.wanted.load(Ordering::Acquire),
            actual_pages: self.shared.actual.load(Ordering::Acquire),
        })
    }

    fn restore(&mut self, state: &DeviceState) -> bool {
        let DeviceState::Balloon(BalloonState { version: STATE_VERSION, wanted_pages, actual_pages }) = state
        else {
            return false;
        };
        self.shared.wanted.store(*wanted_pages, Ordering::Release);
        self.shared.actual.store(*actual_pages, Ordering::Release);
        true
    }
}

/// Place of `actual` in the configuration space, which the driver writes.
const ACTUAL_OFFSET: usize = 4;
