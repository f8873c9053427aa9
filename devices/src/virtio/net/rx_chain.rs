//! A chain that the driver offers for receiving.

use net::HEADER_LEN;
use vm_memory::GuestAddress;

use crate::virtio::buffers::{BadChain, Buffers, skip, total};

/// Offset of `num_buffers` in the frame's header (virtio 1.3 §5.1.6).
const COUNT_OFFSET: u64 = 10;

/// A chain fit for receiving.
#[derive(Clone, Copy, Debug)]
pub(super) struct RxChain {
    pub(super) head: u16,
    /// Bytes that it holds, at least a header's.
    pub(super) len: u32,
    /// Buffers that it became.
    pub(super) bufs: usize,
    /// Where the two bytes of `num_buffers` are if the frame starts here.
    pub(super) count_at: [GuestAddress; 2],
}

impl RxChain {
    /// Checks that the chain is writable only and holds a header (virtio 1.3 §5.1.6.3.1).
    pub(super) fn check(head: u16, buffers: &Buffers) -> Result<Self, BadChain> {
        if !buffers.readable.is_empty() {
            return Err(BadChain::Order);
        }
        let len = u32::try_from(total(&buffers.writable)).map_err(|_| BadChain::TooLong)?;
        if len < HEADER_LEN {
            return Err(BadChain::TooShort);
        }
        let byte = |at| skip(&buffers.writable, at).next().map(|segment| segment.address);
        let low = byte(COUNT_OFFSET).ok_or(BadChain::TooShort)?;
        let high = byte(COUNT_OFFSET + 1).ok_or(BadChain::TooShort)?;
        Ok(Self { head, len, bufs: 0, count_at: [low, high] })
    }
}
