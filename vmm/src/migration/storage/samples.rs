//! Blocks by which two sides tell whether they have the same storage.

use std::collections::BTreeSet;
use std::io;

use block::{Disk, HostFile, Written};
use ram::PAGE;

use crate::migration::wire::Batch;

const PAGE_BYTES: u64 = PAGE as u64;
/// Blocks that are picked at random.
const RANDOM: usize = 62;
/// Parts that were written to last, all of whose blocks are compared: no older copy has them all. All blocks fit into one batch.
const RECENT: usize = 8;

/// Reads blocks of the file of `disk`: the first, the last, some at random, and some of those that were written while it was watched:
/// of an image with tables, where in the file that is, and what says so. Nobody writes to it meanwhile.
pub(super) fn take(disk: &dyn Disk, file: &HostFile, secret: u64, recent: &Written) -> io::Result<Batch> {
    let pages = file.bytes()? / PAGE_BYTES;
    let mut picked = BTreeSet::new();
    if let Some(last) = pages.checked_sub(1) {
        picked.extend([0, last]);
        let mut state = secret | 1;
        picked.extend((0..RANDOM).map(|_| random(&mut state) % pages));
        for part in recent.parts().take(RECENT) {
            for offset in part.step_by(PAGE) {
                picked.extend(disk.places(offset)?.into_iter().map(|place| place / PAGE_BYTES));
            }
        }
        picked.retain(|page| *page < pages);
    }
    let mut batch = Batch::default();
    for page in picked {
        batch.add(page * PAGE_BYTES, 1, |to| file.read(page * PAGE_BYTES, to))?;
    }
    Ok(batch)
}

/// Whether a file has these blocks as well.
pub(super) fn are_in(file: &HostFile, samples: &Batch) -> io::Result<bool> {
    let mut here = vec![0; PAGE];
    for (run, bytes) in samples.runs() {
        let mut theirs = bytes.chunks(PAGE);
        for number in 0..u64::from(run.pages) {
            file.read(run.start.saturating_add(number * PAGE_BYTES), &mut here)?;
            let same = match run.zero {
                true => block::ops::is_zero(&here),
                false => theirs.next() == Some(&here),
            };
            if !same {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The next of a row of numbers that look like random ones (xorshift64).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
