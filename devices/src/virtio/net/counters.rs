//! What a network card did.

use crate::virtio::{Counter, Ring};

/// Counters of one queue.
#[derive(Debug, Default)]
pub struct QueueCounters {
    /// Frames that arrived at the other side.
    pub frames: Counter,
    /// Their bytes, without virtio headers.
    pub bytes: Counter,
    /// Frames lost: the link was down, the host refused them, or they were too long for the driver's buffers.
    pub dropped: Counter,
    /// Frames that the driver has not asked for.
    pub filtered: Counter,
    /// Chains of the driver that could not hold or be a frame, and frames with an impossible header.
    pub malformed: Counter,
    /// Times that the driver, or the link, woke the queue.
    pub wakeups: Counter,
    /// Interrupts sent to the driver.
    pub interrupts: Counter,
}

impl QueueCounters {
    /// Counts a frame of `len` bytes with its virtio header.
    pub(super) fn frame(&self, len: u64) {
        self.frames.bump();
        self.bytes.add(len.saturating_sub(u64::from(::net::HEADER_LEN)));
    }

    /// Counts a wake-up whose work is done, with the interrupts that it led to.
    pub(super) fn woken(&self, ring: &mut Ring) {
        self.wakeups.bump();
        self.interrupts.add(ring.take_interrupts());
    }
}

/// Counters of a network card.
#[derive(Debug)]
pub struct NetCounters {
    /// Host to guest, for each queue pair.
    pub rx: Vec<QueueCounters>,
    /// Guest to host, for each queue pair.
    pub tx: Vec<QueueCounters>,
    /// Control commands that were refused.
    pub refused_commands: Counter,
}

impl NetCounters {
    pub(super) fn new(pairs: u16) -> Self {
        let queues = || (0..pairs).map(|_| QueueCounters::default()).collect();
        Self { rx: queues(), tx: queues(), refused_commands: Counter::default() }
    }
}

/// The sum of a counter over queues.
pub fn sum(queues: &[QueueCounters], counter: impl Fn(&QueueCounters) -> &Counter) -> u64 {
    queues.iter().map(|queue| counter(queue).get()).fold(0, u64::wrapping_add)
}
