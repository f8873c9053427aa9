//! Ranges of guest memory that the guest does not use, checked and given back to the host.

use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::{BalloonCounters, sys};
use crate::GuestRam;

/// Unit of the balloon, whatever the guest's pages are (virtio 1.3 §5.5.6).
pub(super) const PAGE: u64 = 4096;

/// Gives all whole pages of `len` bytes from `start` back, region by region; what is not RAM is passed over. Repeating
/// it does no harm: what is dropped already is dropped again.
pub(super) fn release(mem: &GuestRam, start: u64, len: u64, counters: &BalloonCounters) {
    let Some(end) = start.checked_add(len) else { return counters.rejected.bump() };
    let (Some(first), last) = (start.checked_next_multiple_of(PAGE), end / PAGE * PAGE) else {
        return counters.rejected.bump();
    };
    let mut found = false;
    for region in mem.iter() {
        let base = region.start_addr().raw_value();
        let (from, to) = (first.max(base), last.min(base.saturating_add(region.len())));
        if from >= to {
            continue;
        }
        found = true;
        let Some(offset) = region.to_region_addr(GuestAddress(from)) else { continue };
        let Ok(size) = usize::try_from(to - from) else { continue };
        match sys::release(region, offset, size) {
            Ok(true) => {
                // They read as zeroes now, which is as good as having been written.
                ram::mark(mem, GuestAddress(from), to - from);
                counters.released_bytes.add(to - from);
            }
            Ok(false) => counters.kept_bytes.add(to - from),
            Err(_) => counters.failed.bump(),
        }
    }
    if !found {
        counters.rejected.bump();
    }
}

/// Gives the pages of these numbers back; runs of neighbours go together. Sorts the numbers.
pub(super) fn release_all(mem: &GuestRam, numbers: &mut [u32], counters: &BalloonCounters) {
    numbers.sort_unstable();
    for run in numbers.chunk_by(|a, b| *b == *a || a.checked_add(1) == Some(*b)) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            let pages = u64::from(last - first) + 1;
            release(mem, u64::from(*first) * PAGE, pages * PAGE, counters);
        }
    }
}
