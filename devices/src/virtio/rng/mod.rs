//! virtio-rng: the host's random numbers for the guest (virtio 1.3 §5.4).

mod queue;
mod sys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use virtio_queue::QueueState;

use self::queue::RandomBytes;
use super::responder::responder;
use super::{Counter, DeviceState, Ring, StartError, VirtioDevice, VirtioId, feature};
use crate::io_thread::{IoHandle, RunningWorker};

const QUEUE_SIZES: [u16; 1] = [64];
const STATE_VERSION: u32 = 1;

/// Saved state: there is nothing to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngState {
    /// Layout of this struct.
    pub version: u32,
}

/// What an entropy source did.
#[derive(Debug, Default)]
pub struct RngCounters {
    /// Random bytes given to the guest.
    pub bytes: Counter,
    /// Requests that made no sense.
    pub rejected: Counter,
}

/// An entropy source.
#[derive(Debug)]
pub struct RngDevice {
    thread: IoHandle,
    counters: Arc<RngCounters>,
    worker: Option<RunningWorker>,
}

impl RngDevice {
    /// A source whose queue runs on `thread`.
    pub fn new(thread: IoHandle) -> Self {
        Self { thread, counters: Arc::default(), worker: None }
    }

    /// What it did so far.
    pub fn counters(&self) -> Arc<RngCounters> {
        Arc::clone(&self.counters)
    }
}

impl VirtioDevice for RngDevice {
    fn id(&self) -> VirtioId {
        VirtioId::Rng
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        feature::RING_EVENT_IDX | feature::RING_INDIRECT_DESC
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn start_queue(&mut self, index: u16, ring: Ring) -> Result<(), StartError> {
        if index != 0 || self.worker.is_some() {
            return Err(StartError::NoSuchQueue(index));
        }
        let worker = responder(ring, RandomBytes(Arc::clone(&self.counters)));
        self.worker = Some(self.thread.start(worker)?);
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        let worker = if index == 0 { self.worker.take() } else { None };
        worker?.stop().ok()
    }

    fn reset(&mut self) {}

    fn save(&self) -> DeviceState {
        DeviceState::Rng(RngState { version: STATE_VERSION })
    }

    fn restore(&mut self, state: &DeviceState) -> bool {
        matches!(state, DeviceState::Rng(RngState { version: STATE_VERSION }))
    }
}
