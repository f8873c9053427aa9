//! Guest memory into a file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use block::ops::data_runs;
use devices::GuestRam;
use ram::PAGE;
use vm_memory::Bytes;

use super::index::{EXTENT, Extent, Index};
use super::layout::Layout;
use super::saved::crc_of;
use crate::dirty::{PageRun, PageSet};

const PAGE_BYTES: u64 = PAGE as u64;
/// Pages that are read in one go.
const BATCH: u64 = 64;

/// What becomes of pages that are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zeroes {
    /// The file has nothing there yet: they are left out.
    Skip,
    /// The file may have something else there.
    Write,
}

/// Writes guest memory into a file, in any order and more than once.
pub(super) struct MemoryWriter {
    file: File,
    layout: Layout,
    ram: GuestRam,
    buffer: Vec<u8>,
    /// Numbers of the pieces of [`EXTENT`] bytes that have something in them.
    pieces: BTreeSet<u64>,
}

impl MemoryWriter {
    /// Writes `ram` into the empty `file`, which gets its full length.
    pub(super) fn new(file: File, layout: Layout, ram: GuestRam) -> io::Result<Self> {
        file.set_len(layout.bytes())?;
        let buffer = vec![0; usize::try_from(BATCH).unwrap_or(1) * PAGE];
        Ok(Self { file, layout, ram, buffer, pieces: BTreeSet::new() })
    }

    /// Writes the pages of a set.
    pub(super) fn write(&mut self, pages: &PageSet, zeroes: Zeroes) -> io::Result<()> {
        pages.runs(BATCH).try_for_each(|run| self.write_run(run, zeroes))
    }

    fn write_run(&mut self, run: PageRun, zeroes: Zeroes) -> io::Result<()> {
        let outside = || io::Error::other("a page is in no memory");
        let offset = self.layout.offset(run.start).ok_or_else(outside)?;
        let length = usize::try_from(run.bytes()).map_err(|_| outside())?;
        let buffer = self.buffer.get_mut(..length).ok_or_else(outside)?;
        self.ram.read_slice(buffer, run.start).map_err(io::Error::other)?;
        if zeroes == Zeroes::Write {
            return self.put(offset, 0..length);
        }
        let runs: Vec<_> = data_runs(buffer, PAGE).collect();
        runs.into_iter().try_for_each(|run| self.put(offset, run))
    }

    /// Writes a part of the buffer, which is what the file is to have from `offset` on.
    fn put(&mut self, offset: u64, part: std::ops::Range<usize>) -> io::Result<()> {
        let from = offset + part.start as u64;
        let last = offset + part.end as u64 - 1;
        self.file.write_all_at(self.buffer.get(part).unwrap_or_default(), from)?;
        self.pieces.extend(from / EXTENT..=last / EXTENT);
        Ok(())
    }

    /// The index of everything that was written, in whole pieces.
    pub(super) fn index(&self) -> io::Result<Index> {
        let length = self.layout.bytes();
        let piece = |number: &u64| {
            let offset = number * EXTENT;
            self.extent(offset, EXTENT.min(length.saturating_sub(offset)) / PAGE_BYTES)
        };
        self.pieces.iter().map(piece).collect::<io::Result<_>>().map(Index)
    }

    /// The index of these pages alone: the file has no others.
    pub(super) fn index_of(&self, pages: &PageSet) -> io::Result<Index> {
        let run = |run: PageRun| {
            let offset = self.layout.offset(run.start);
            self.extent(offset.ok_or_else(|| io::Error::other("a page is in no memory"))?, run.pages)
        };
        pages.runs(EXTENT / PAGE_BYTES).map(run).collect::<io::Result<_>>().map(Index)
    }

    fn extent(&self, offset: u64, pages: u64) -> io::Result<Extent> {
        let mut extent = Extent { offset, pages: u32::try_from(pages).unwrap_or(u32::MAX), crc: 0 };
        extent.crc = crc_of(&self.file, extent)?;
        Ok(extent)
    }

    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.layout.bytes()
    }

    /// Makes it all durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
