//! virtio-blk: a disk for the guest (virtio 1.3 §5.2).

mod config;
mod counters;
mod failure;
#[cfg(test)]
mod failure_tests;
#[cfg(test)]
mod fake_disk;
mod guest_disk;
#[cfg(test)]
mod order_tests;
mod queue;
mod request;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use block::{Disk, DiskError, DiskInfo};
use virtio_queue::QueueState;

pub use self::config::BlkConfig;
pub use self::counters::BlkCounters;
pub use self::failure::{DiskFault, ErrorPolicy, OnFault};
pub use self::state::BlkState;
pub use super::limit::RateLimit;

use self::failure::Held;
use self::queue::BlkQueue;
use self::request::{Command, Status};
use super::limit::Buckets;
use super::notice::ConfigNotice;
use super::worker::QueueWorker;
use super::{DeviceState, Ring, StartError, Threads, VirtioDevice, VirtioId};
use crate::io_thread::RunningWorker;
use crate::lock;

/// What front, queues and handles have in common.
#[derive(Debug)]
struct BlkShared {
    config: BlkConfig,
    disk: Arc<dyn Disk>,
    counters: BlkCounters,
    notice: ConfigNotice,
    held: Held,
    /// What a queue held back when it was stopped, by the queue's number: the heads of its chains.
    left: Mutex<BTreeMap<u16, Vec<u16>>>,
    buckets: Buckets,
    /// What the driver wrote to the configuration's `writeback`.
    writeback: AtomicBool,
}

impl BlkShared {
    /// Whether a command is one that the disk takes, and how many bytes its range may have.
    fn limits(&self, command: &Command) -> Result<u64, Status> {
        let disk = self.disk.info();
        let changes = !matches!(command, Command::Read { .. } | Command::Flush | Command::GetId { .. });
        if changes && self.config.is_read_only(&disk) {
            return Err(Status::IoError);
        }
        match command {
            Command::Discard { .. } => disk.discard.map(|limits| limits.max_bytes).ok_or(Status::Unsupported),
            Command::WriteZeroes { .. } => {
                disk.write_zeroes.map(|limits| limits.max_bytes).ok_or(Status::Unsupported)
            }
            _ => Ok(u64::MAX),
        }
    }
}

/// A disk's device.
#[derive(Debug)]
pub struct BlkDevice {
    shared: Arc<BlkShared>,
    threads: Threads,
    sizes: Vec<u16>,
    workers: Vec<Option<RunningWorker>>,
}

/// What others may ask of a disk's device while it runs.
#[derive(Clone, Debug)]
pub struct BlkHandle(Arc<BlkShared>);

impl BlkHandle {
    /// Looks at the disk again and, if its size is another one, tells the driver.
    ///
    /// # Errors
    /// The disk cannot be looked at.
    pub fn resized(&self) -> Result<DiskInfo, DiskError> {
        let before = self.0.disk.info();
        let now = self.0.disk.refresh()?;
        if now != before {
            self.0.notice.config_changed();
        }
        Ok(now)
    }

    /// The disk's size as the driver was last told, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.0.disk.info().size_bytes
    }

    /// Has requests that were held back tried again (see [`ErrorPolicy`]).
    pub fn retry(&self) {
        self.0.held.retry();
    }

    /// What the device did so far.
    pub fn counters(&self) -> &BlkCounters {
        &self.0.counters
    }
}

impl BlkDevice {
    /// A device that shows `disk` as `config` says; its queues take turns over `threads`.
    pub fn new(disk: Arc<dyn Disk>, config: BlkConfig, threads: impl Into<Threads>) -> Self {
        Self::with_faults(disk, config, threads, None)
    }

    /// The same; `on_fault` is told of requests that [`BlkConfig::error_policy`] holds back.
    pub fn with_faults(
        disk: Arc<dyn Disk>,
        config: BlkConfig,
        threads: impl Into<Threads>,
        on_fault: Option<OnFault>,
    ) -> Self {
        let held = Held::new(on_fault);
        let buckets = Buckets::new(config.rate_limit);
        let sizes = config.queue_sizes();
        let workers = sizes.iter().map(|_| None).collect();
        let writeback = AtomicBool::new(disk.info().write_cache);
        let counters = BlkCounters::default();
        let notice = ConfigNotice::default();
        let left = Mutex::default();
        let shared = Arc::new(BlkShared { config, disk, counters, notice, held, left, buckets, writeback });
        Self { shared, threads: threads.into(), sizes, workers }
    }

    /// A handle that outlives the device's move into its transport.
    pub fn handle(&self) -> BlkHandle {
        BlkHandle(Arc::clone(&self.shared))
    }
}

impl VirtioDevice for BlkDevice {
    fn id(&self) -> VirtioId {
        VirtioId::Blk
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.sizes
    }

    fn features(&self) -> u64 {
        self.shared.config.features(&self.shared.disk.info())
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let writeback = self.shared.writeback.load(Ordering::Acquire);
        self.shared.config.space(&self.shared.disk.info(), writeback).read(offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let (config::WRITEBACK_OFFSET, [value]) = (offset, data) {
            self.shared.writeback.store(*value != 0, Ordering::Release);
        }
    }

    fn start_queue(&mut self, index: u16, ring: Ring) -> Result<(), StartError> {
        let slot = self.workers.get_mut(usize::from(index)).filter(|slot| slot.is_none());
        let slot = slot.ok_or(StartError::NoSuchQueue(index))?;
        let queue = self.shared.disk.open_queue(ring.state().size);
        let queue =
            queue.map_err(|error| StartError::Backend { queue: index, source: io::Error::other(error) })?;
        self.shared.notice.connect(&ring);
        let worker = BlkQueue::new(index, ring, queue, Arc::clone(&self.shared));
        *slot = Some(self.threads.of(index).start(QueueWorker::boxed(worker))?);
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        self.workers.get_mut(usize::from(index))?.take()?.stop().ok()
    }

    fn forget_queue(&mut self, index: u16) {
        lock(&self.shared.left).remove(&index);
    }

    fn reset(&mut self) {
        lock(&self.shared.left).clear();
        self.shared.notice.disconnect();
        self.shared.writeback.store(self.shared.disk.info().write_cache, Ordering::Release);
    }

    fn save(&self) -> DeviceState {
        let writeback = self.shared.writeback.load(Ordering::Acquire);
        let held = lock(&self.shared.left).clone();
        DeviceState::Blk(BlkState { version: state::VERSION, writeback, held })
    }

    fn restore(&mut self, state: &DeviceState) -> bool {
        let DeviceState::Blk(state) = state else { return false };
        let fits = state.fits(&self.sizes);
        if fits {
            self.shared.writeback.store(state.writeback, Ordering::Release);
            lock(&self.shared.left).clone_from(&state.held);
        }
        fits
    }
}
