//! Batches of pages into guest memory.

use devices::GuestRam;
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use super::super::wire::Batch;
use crate::sys::memory::discard;

/// What came does not belong into this machine's memory.
#[derive(Debug, thiserror::Error)]
#[error("the other side sent pages that are not in the machine's memory")]
pub(in super::super) struct Outside;

/// Puts a batch into memory. With `fresh`, nothing has been put there before, and zeroes are there already.
pub(in super::super) fn put(ram: &GuestRam, batch: &Batch, fresh: bool) -> Result<(), Outside> {
    for (run, bytes) in batch.runs() {
        let start = GuestAddress(run.start);
        if !run.zero {
            ram.write_slice(bytes, start).map_err(|_| Outside)?;
        } else if fresh {
            // Whether they are in memory is looked at all the same.
            check(ram, start, run.bytes())?;
        } else {
            discard(ram, start, run.bytes()).map_err(|_| Outside)?;
        }
    }
    Ok(())
}

fn check(ram: &GuestRam, start: GuestAddress, bytes: u64) -> Result<(), Outside> {
    let len = usize::try_from(bytes).map_err(|_| Outside)?;
    if ram.check_range(start, len, Permissions::Write) { Ok(()) } else { Err(Outside) }
}
