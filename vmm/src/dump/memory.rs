//! Memory, with holes for pages of zeroes.

use std::fs::File;
use std::io;
use std::ops::Range;

use block::ops::data_runs;
use devices::GuestRam;
use ram::PAGE;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::elf::Layout;
use super::file::write_all_at;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Guest-physical addresses of all memory.
pub(super) fn ranges(ram: &GuestRam) -> Vec<Range<u64>> {
    let range = |start: u64, length: u64| start..start.saturating_add(length);
    ram.iter().map(|region| range(region.start_addr().0, region.len())).collect()
}

/// Bytes of all memory.
pub(super) fn size(ram: &GuestRam) -> u64 {
    ram.iter().map(GuestMemoryRegion::len).sum()
}

/// Writes all memory to its places; gives back how many bytes took room.
pub(super) fn write(file: &File, ram: &GuestRam, layout: &Layout) -> io::Result<u64> {
    let (mut buffer, mut stored) = (vec![0; PIECE], 0);
    for range in ranges(ram) {
        let mut address = range.start;
        while address < range.end {
            let length = usize::try_from(range.end - address).map_or(PIECE, |left| left.min(PIECE));
            let piece = buffer.get_mut(..length).ok_or(io::ErrorKind::InvalidInput)?;
            ram.read_slice(piece, GuestAddress(address)).map_err(io::Error::other)?;
            let offset = layout.offset_of(address).ok_or(io::ErrorKind::InvalidInput)?;
            stored += write_piece(file, piece, offset)?;
            address = address.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        }
    }
    // What is left out at the end is part of the file all the same.
    file.set_len(layout.file_size())?;
    Ok(stored)
}

/// Writes the pages that are not all zeroes, those that follow each other together.
fn write_piece(file: &File, piece: &[u8], offset: u64) -> io::Result<u64> {
    let mut stored = 0;
    for run in data_runs(piece, PAGE) {
        let at = offset.saturating_add(u64::try_from(run.start).unwrap_or(u64::MAX));
        let data = piece.get(run).unwrap_or_default();
        write_all_at(file, data, at)?;
        stored += u64::try_from(data.len()).unwrap_or(0);
    }
    Ok(stored)
}
