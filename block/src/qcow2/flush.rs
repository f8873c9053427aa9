//! The order in which changes reach the file.
//!
//! Whenever the power fails, each cluster that the tables in the file refer to must be counted
//! there, and hold what it should. So, with a barrier between the steps: first data, refcounts and
//! L2 tables that nothing refers to yet; then, where there are new ones, what refers to refcount
//! blocks; then what refers to data and L2 tables; and only when that is durable does anything
//! become free that was referred to before. What is interrupted leaves, at worst, clusters that are
//! counted and not used.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;

use super::core::Core;
use super::image::Writer;
use crate::storage::Storage;

/// Unit in which tables are written.
const PIECE: usize = 4096;

impl Writer {
    /// Makes everything durable that has been written.
    pub(super) fn flush(&mut self, core: &Core) -> io::Result<()> {
        let storage = &*core.storage;
        let dirty = core.slices.dirty();
        if dirty.is_empty() && self.new_tables.is_empty() && !self.refcounts.is_dirty() {
            return storage.sync();
        }
        let slices_per_table = core.geometry.l2_entries() / core.geometry.slice_entries();
        let is_new =
            |key: u64| usize::try_from(key / slices_per_table).is_ok_and(|at| self.new_tables.contains(&at));
        for (key, slice) in dirty.iter().filter(|(key, _)| is_new(*key)) {
            write_slice(core, *key, &slice.bytes())?;
        }
        for &table in &self.new_tables {
            // A table's end must not lie behind the end of the file.
            let last = (table as u64 + 1) * slices_per_table - 1;
            if dirty.binary_search_by_key(&last, |(key, _)| *key).is_err() {
                let zeroes = vec![0; usize::try_from(core.geometry.slice_bytes()).unwrap_or(0)];
                write_slice(core, last, &zeroes)?;
            }
        }
        self.refcounts.write_blocks()?;
        if self.refcounts.table_is_dirty() {
            storage.sync()?;
            self.refcounts.write_table()?;
        }
        storage.sync()?;
        if let Some((old, clusters)) = self.refcounts.moved {
            self.switch_table(storage, core.geometry.cluster_size())?;
            self.refcounts.moved = None;
            let first = core.geometry.cluster_of(old);
            self.reserved.remove(first, clusters);
            self.refcounts.release(first, clusters)?;
        }
        if !dirty.is_empty() || !self.new_tables.is_empty() {
            for (key, slice) in dirty.iter().filter(|(key, _)| !is_new(*key)) {
                write_slice(core, *key, &slice.bytes())?;
            }
            write_l1(core, &self.new_tables)?;
            storage.sync()?;
        }
        for (_, slice) in &dirty {
            slice.dirty.store(false, Ordering::Release);
        }
        self.new_tables.clear();
        self.dirty_slices = 0;
        self.release_dropped(core)
    }

    /// Makes the header refer to the refcount table's new place.
    fn switch_table(&self, storage: &dyn Storage, cluster_size: u64) -> io::Result<()> {
        let clusters =
            u32::try_from(self.refcounts.table_clusters()).map_err(|_| io::ErrorKind::StorageFull)?;
        let mut place = self.refcounts.table_offset.to_be_bytes().to_vec();
        place.extend(clusters.to_be_bytes());
        patch_header(storage, cluster_size, 48, &place)?;
        storage.sync()
    }

    /// Frees what nothing in the file refers to any more.
    fn release_dropped(&mut self, core: &Core) -> io::Result<()> {
        if !self.dropped.is_empty() {
            core.unpacker.forget();
        }
        for dropped in std::mem::take(&mut self.dropped) {
            self.refcounts.release(dropped.first, dropped.clusters)?;
        }
        Ok(())
    }
}

fn write_slice(core: &Core, key: u64, bytes: &[u8]) -> io::Result<()> {
    let place = core.slice_place(key)?.ok_or(io::ErrorKind::NotFound)?;
    core.storage.write_bytes(place, bytes)
}

fn write_l1(core: &Core, changed: &BTreeSet<usize>) -> io::Result<()> {
    let pieces: BTreeSet<usize> = changed.iter().map(|index| index * 8 / PIECE).collect();
    for piece in pieces {
        let entries = core.l1.iter().skip(piece * PIECE / 8).take(PIECE / 8);
        let mut bytes: Vec<u8> =
            entries.flat_map(|entry| entry.load(Ordering::Acquire).to_be_bytes()).collect();
        // The table fills whole clusters, whose rest nobody reads; direct I/O wants whole blocks.
        let whole = PIECE.min(usize::try_from(core.geometry.cluster_size()).unwrap_or(PIECE));
        bytes.resize(bytes.len().next_multiple_of(whole), 0);
        core.storage.write_bytes(core.header.l1_offset + (piece * PIECE) as u64, &bytes)?;
    }
    Ok(())
}

/// Changes some bytes of the header, in one write of its first block.
pub(super) fn patch_header(
    storage: &dyn Storage,
    cluster_size: u64,
    at: usize,
    bytes: &[u8],
) -> io::Result<()> {
    let mut block = vec![0; PIECE.min(usize::try_from(cluster_size).unwrap_or(PIECE))];
    storage.read_bytes(0, &mut block)?;
    for (to, from) in block.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
    storage.write_bytes(0, &block)
}
