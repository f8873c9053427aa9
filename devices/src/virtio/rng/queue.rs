//! The one queue of an entropy source.

use std::sync::Arc;

use super::{RngCounters, sys};
use crate::virtio::buffers::{BadChain, Buffers, total, write_at};
use crate::virtio::worker::{QueueHandler, Ready, Watch, yield_turn};
use crate::virtio::{Chain, Ring, RingError};

/// Most bytes that one request gets; the driver asks again for more.
const MAX_BYTES: u64 = 64 << 10;
/// Bytes fetched at a time. The kernel fills up to 256 without interruption (getrandom(2)).
const STEP: usize = 256;
/// Requests answered before other queues of the thread have their turn.
const TURN: usize = 64;

pub(super) struct RngQueue {
    ring: Ring,
    buffers: Buffers,
    counters: Arc<RngCounters>,
}

impl RngQueue {
    pub(super) fn new(ring: Ring, counters: Arc<RngCounters>) -> Self {
        Self { ring, buffers: Buffers::default(), counters }
    }

    fn serve(&mut self) -> Result<(), RingError> {
        self.ring.disable_notification()?;
        let mut served = 0;
        loop {
            while served < TURN
                && let Some(chain) = self.ring.pop()?
            {
                served += 1;
                self.answer(chain)?;
            }
            self.ring.notify()?;
            if served == TURN {
                yield_turn(&self.ring);
                return Ok(());
            }
            if !self.ring.enable_notification()? {
                return Ok(());
            }
        }
    }

    fn answer(&mut self, chain: Chain) -> Result<(), RingError> {
        let head = chain.head_index();
        let filled = self.buffers.load(chain).and_then(|()| self.fill());
        let written = filled.unwrap_or_else(|_| {
            self.counters.rejected.bump();
            0
        });
        self.counters.bytes.add(u64::from(written));
        self.ring.push_used(head, written)
    }

    /// Fills the chain's writable part, or as much as the host gives.
    fn fill(&self) -> Result<u32, BadChain> {
        let wanted = total(&self.buffers.writable).min(MAX_BYTES);
        let mut written = 0u32;
        while u64::from(written) < wanted {
            let mut bytes = [0; STEP];
            let left = usize::try_from(wanted - u64::from(written)).unwrap_or(STEP);
            let step = bytes.get_mut(..left.min(STEP)).unwrap_or_default();
            let count = sys::random(step).unwrap_or(0);
            if count == 0 {
                break;
            }
            let fresh = step.get(..count).unwrap_or_default();
            write_at(self.ring.mem(), &self.buffers.writable, u64::from(written), fresh)?;
            written = written.saturating_add(u32::try_from(count).unwrap_or(0));
        }
        if written == 0 { Err(BadChain::TooShort) } else { Ok(written) }
    }
}

impl QueueHandler for RngQueue {
    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn start(&mut self, _watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.serve()
    }

    fn wake(&mut self, _ready: Ready, _watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.serve()
    }
}
