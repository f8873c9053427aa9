//! The memory that a chain of descriptors names, checked for form.

use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};

use crate::GuestRam;

/// Most descriptors that a chain may have: what the kernel takes in one call (`UIO_MAXIOV`), which is also more than any
/// queue here has descriptors.
pub(crate) const MAX_SEGMENTS: usize = 1024;

/// What is wrong with a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadChain {
    /// A loop, an index out of the table, a broken indirect table, or descriptors out of memory.
    #[error("the chain does not end")]
    Endless,
    /// More than [`MAX_SEGMENTS`] descriptors.
    #[error("the chain has too many descriptors")]
    TooLong,
    /// Device-readable after device-writable (virtio 1.3 §2.7.4.2).
    #[error("the chain's readable part comes after its writable part")]
    Order,
    /// A buffer is not in RAM.
    #[error("the chain names memory that does not exist")]
    OutsideRam,
    /// Too short for what it is meant for.
    #[error("the chain is too short")]
    TooShort,
}

/// A piece of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) address: GuestAddress,
    pub(crate) len: u32,
}

/// The two parts of a chain. Reused from chain to chain.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) readable: Vec<Segment>,
    pub(crate) writable: Vec<Segment>,
}

impl Buffers {
    /// Replaces the contents by those of `chain`; empty descriptors are left out.
    pub(crate) fn load(&mut self, chain: impl Iterator<Item = Descriptor>) -> Result<(), BadChain> {
        self.readable.clear();
        self.writable.clear();
        let mut ended = false;
        for (count, descriptor) in chain.enumerate() {
            if count == MAX_SEGMENTS {
                return Err(BadChain::TooLong);
            }
            ended = !descriptor.has_next();
            if descriptor.len() == 0 {
                continue;
            }
            let segment = Segment { address: descriptor.addr(), len: descriptor.len() };
            if descriptor.is_write_only() {
                self.writable.push(segment);
            } else if self.writable.is_empty() {
                self.readable.push(segment);
            } else {
                return Err(BadChain::Order);
            }
        }
        if ended { Ok(()) } else { Err(BadChain::Endless) }
    }
}

/// Bytes in all segments together; chains hold less than 4 GiB.
pub(crate) fn total(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| u64::from(segment.len)).sum()
}

/// The segments without their first `count` bytes.
pub(crate) fn skip(segments: &[Segment], count: u64) -> impl Iterator<Item = Segment> {
    let mut left = count;
    segments.iter().filter_map(move |segment| {
        let cut = u32::try_from(left).unwrap_or(u32::MAX).min(segment.len);
        left -= u64::from(cut);
        let address = GuestAddress(segment.address.0.wrapping_add(u64::from(cut)));
        (cut < segment.len).then_some(Segment { address, len: segment.len - cut })
    })
}

/// Fills `data` from the segments, `offset` bytes in.
pub(crate) fn read_at(
    mem: &GuestRam,
    segments: &[Segment],
    offset: u64,
    data: &mut [u8],
) -> Result<(), BadChain> {
    let mut rest = data;
    for segment in skip(segments, offset) {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at_mut(rest.len().min(usize_len(segment.len)));
        mem.read_slice(now, segment.address).map_err(|_| BadChain::OutsideRam)?;
        rest = later;
    }
    if rest.is_empty() { Ok(()) } else { Err(BadChain::TooShort) }
}

/// Writes `data` over the segments, `offset` bytes in.
pub(crate) fn write_at(
    mem: &GuestRam,
    segments: &[Segment],
    offset: u64,
    data: &[u8],
) -> Result<(), BadChain> {
    let mut rest = data;
    for segment in skip(segments, offset) {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(rest.len().min(usize_len(segment.len)));
        mem.write_slice(now, segment.address).map_err(|_| BadChain::OutsideRam)?;
        rest = later;
    }
    if rest.is_empty() { Ok(()) } else { Err(BadChain::TooShort) }
}

/// Calls `each` with host address and length of every piece of the segment, which may span regions of RAM.
pub(crate) fn host_pieces(
    mem: &GuestRam,
    segment: Segment,
    mut each: impl FnMut(*mut u8, usize),
) -> Result<(), BadChain> {
    let whole = |_: GuestMemoryError| BadChain::OutsideRam;
    let len = usize_len(segment.len);
    // Nearly every buffer lies in one region.
    if let Ok(piece) = mem.get_slice(segment.address, len) {
        each(piece.ptr_guard_mut().as_ptr(), piece.len());
        return Ok(());
    }
    for piece in GuestMemoryBackend::get_slices(mem.as_ref(), segment.address, len) {
        let piece = piece.map_err(whole)?;
        each(piece.ptr_guard_mut().as_ptr(), piece.len());
    }
    Ok(())
}

/// A length as the host counts; hosts have 64 bits.
pub(crate) const fn usize_len(len: u32) -> usize {
    len as usize
}
