//! What a disk's device did.

use crate::virtio::Counter;

/// Counters over all queues of a device.
#[derive(Debug, Default)]
pub struct BlkCounters {
    /// Reads that succeeded.
    pub reads: Counter,
    /// Bytes that they read.
    pub read_bytes: Counter,
    /// Writes that succeeded.
    pub writes: Counter,
    /// Bytes that they wrote.
    pub written_bytes: Counter,
    /// Flushes that succeeded.
    pub flushes: Counter,
    /// Discards and writes of zeroes that succeeded.
    pub discards: Counter,
    /// Requests that were refused or that the host failed; the driver was told.
    pub errors: Counter,
    /// Chains without the form of a request.
    pub malformed: Counter,
}
