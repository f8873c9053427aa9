//! Which pages of a mapping the host has anything for (proc_pid_pagemap(5)).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ram::{PAGE, RamRegion};
use vm_memory::{GuestMemoryRegion, MemoryRegionAddress};

use super::line;

/// Bytes of an entry, of which there is one for each page of the address space.
const ENTRY: usize = 8;
/// Entries that are read in one go.
const BATCH: usize = 4096;
/// The page is in memory, or in a swap area.
const IS_SOMEWHERE: u64 = 0b11 << 62;

/// The first Linux that gives an entry for each page, or a short read. Before it, a huge page that goes while it is looked at has no
/// entries, those behind it come too early, and what lies behind the range fills the rest.
const SOUND: (u32, u32) = (6, 5);

/// The pages of `region` that are in memory or were swapped out; bit *n* of the words is page *n*.
///
/// # Errors
/// There is no /proc, or it does not tell, or what it tells cannot be relied upon.
pub fn pages_in_use(region: &RamRegion) -> io::Result<Vec<u64>> {
    if !is_sound(&line::read("/proc/sys/kernel/osrelease")) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    pages_told(region)
}

/// Whether the pagemap of this release of Linux can be relied upon.
fn is_sound(release: &str) -> bool {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= SOUND)
}

fn pages_told(region: &RamRegion) -> io::Result<Vec<u64>> {
    let host = region.get_host_address(MemoryRegionAddress(0)).map_err(io::Error::other)?;
    let first = u64::try_from(host.addr() / PAGE).map_err(io::Error::other)?;
    let count = usize::try_from(region.len().div_ceil(PAGE as u64)).map_err(io::Error::other)?;
    read(&File::open("/proc/self/pagemap")?, first, count)
}

/// So many pages from number `first` of the address space on.
fn read(map: &File, first: u64, count: usize) -> io::Result<Vec<u64>> {
    let mut words = vec![0; count.div_ceil(64)];
    let mut entries = vec![0; BATCH * ENTRY];
    for (batch, words) in words.chunks_mut(BATCH / 64).enumerate() {
        let done = batch * BATCH;
        let bytes = entries.get_mut(..ENTRY * BATCH.min(count - done)).unwrap_or_default();
        let came = map.read_at(bytes, (first + done as u64) * ENTRY as u64)?;
        if came < bytes.len() {
            // Entries are missing, and nobody knows whose.
            words.fill(u64::MAX);
            continue;
        }
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        for (word, entries) in words.iter_mut().zip(entries.chunks(64)) {
            *word = entries.iter().rev().fold(0, |word, entry| word << 1 | u64::from(is_in_use(*entry)));
        }
    }
    Ok(words)
}

fn is_in_use(entry: [u8; ENTRY]) -> bool {
    u64::from_ne_bytes(entry) & IS_SOMEWHERE != 0
}

#[cfg(test)]
mod tests {
    use ram::Ram;
    use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

    use super::*;

    #[test]
    fn pages_are_in_use_once_they_were_written() {
        let pages = 3 * BATCH + 70;
        let ram = Ram::from_ranges(&[(GuestAddress(0), pages * PAGE)]).unwrap();
        let region = ram.iter().next().unwrap();
        assert!(pages_told(region).unwrap().iter().all(|word| *word == 0));
        let written = [0, 63, 64, BATCH - 1, BATCH, 2 * BATCH + 5, pages - 1];
        for page in written {
            ram.write_obj(1u8, GuestAddress((page * PAGE) as u64 + 9)).unwrap();
        }
        let words = pages_told(region).unwrap();
        let seen: Vec<_> = (0..pages).filter(|page| words[page / 64] >> (page % 64) & 1 == 1).collect();
        assert_eq!((seen.as_slice(), words.len()), (&written[..], pages.div_ceil(64)));
    }

    #[test]
    fn releases_are_known_by_their_numbers() {
        for sound in ["6.5.0", "6.18.5-fc", "10.0", "6.10-rc1"] {
            assert!(is_sound(sound), "{sound}");
        }
        for other in ["6.1.0-56-cloud-amd64", "5.15.0", "6.4.16", "6", "", "x.y", "99999999999.1"] {
            assert!(!is_sound(other), "{other}");
        }
    }

    #[test]
    fn where_entries_are_missing_all_pages_of_the_batch_count() {
        let map = tempfile::tempfile().unwrap();
        map.set_len(((2 * BATCH - 512) * ENTRY) as u64).unwrap();
        let words = read(&map, 0, 2 * BATCH + 1).unwrap();
        let (whole, short) = words.split_at(BATCH / 64);
        assert!(whole.iter().all(|word| *word == 0) && short.iter().all(|word| *word == u64::MAX));
    }
}
