//! What a disk's device did.

use crate::virtio::Counter;

/// Counters over all queues of a device.
#[derive(Debug, Default)]
pub struct BlkCounters {
    /// Reads that succeeded.
    pub reads: Counter,
    /// Bytes that they read.
    pub read_bytes: Counter,
    /// Nanoseconds that they took, from the disk's taking them to their end.
    pub read_time: Counter,
    /// Writes that succeeded.
    pub writes: Counter,
    /// Bytes that they wrote.
    pub written_bytes: Counter,
    /// Nanoseconds that they took, with flushes that they needed.
    pub write_time: Counter,
    /// Flushes that succeeded.
    pub flushes: Counter,
    /// Nanoseconds that they took.
    pub flush_time: Counter,
    /// Discards and writes of zeroes that succeeded.
    pub discards: Counter,
    /// Requests that were refused or that the host failed; the driver was told.
    pub errors: Counter,
    /// Chains without the form of a request.
    pub malformed: Counter,
    /// What the disk was given to work on.
    pub(super) submitted: Counter,
    /// What of it the disk has ended.
    pub(super) settled: Counter,
}

impl BlkCounters {
    /// Requests that the disk works on.
    pub fn in_flight(&self) -> u64 {
        // Read in this order it may be too many for a moment, but never less than none.
        let settled = self.settled.get();
        self.submitted.get().saturating_sub(settled)
    }
}
