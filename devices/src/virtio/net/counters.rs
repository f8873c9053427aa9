//! What a network card did.

use crate::virtio::Counter;

/// Counters of one direction, over all queues.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Frames that arrived at the other side.
    pub frames: Counter,
    /// Their bytes, without virtio headers.
    pub bytes: Counter,
    /// Frames lost: the link was down, the host refused them, or they were too long for the driver's buffers.
    pub dropped: Counter,
    /// Chains of the driver that could not hold or be a frame.
    pub malformed: Counter,
}

/// Counters of a network card.
#[derive(Debug, Default)]
pub struct NetCounters {
    /// Host to guest.
    pub rx: Traffic,
    /// Guest to host.
    pub tx: Traffic,
    /// Control commands that were refused.
    pub refused_commands: Counter,
}

impl Traffic {
    /// Counts a frame of `len` bytes with its virtio header.
    pub(super) fn frame(&self, len: u64) {
        self.frames.bump();
        self.bytes.add(len.saturating_sub(u64::from(::net::HEADER_LEN)));
    }
}
