//! Refcounts, and where free clusters come from.
//!
//! Clusters are only ever taken from behind all that have been used before: such clusters read as
//! zeroes, and nothing still refers to them. A cluster that becomes free in the middle of the file
//! gives its space back to the file system at once, which serves as well as using it again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::entry::Geometry;
use super::error::QcowError;
use super::header::Header;
use super::reserved::Reserved;
use crate::storage::Storage;

/// Most clusters passed over because they are counted as used without lying in the file.
const MAX_SKIPPED: u64 = 1 << 20;
const MAX_TABLE_BYTES: u64 = 8 << 20;
/// Unchanged blocks kept.
const KEPT_BLOCKS: usize = 8;
/// Unit in which tables are written.
const PIECE: usize = 4096;

#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    /// Pieces with changes that are not in the file.
    dirty: BTreeSet<usize>,
}

#[derive(Debug)]
pub(super) struct Refcounts {
    storage: Arc<dyn Storage>,
    geometry: Geometry,
    order: u32,
    table: Vec<u64>,
    pub(super) table_offset: u64,
    blocks: BTreeMap<u64, Block>,
    /// Entries of the table that are not in the file.
    new_entries: BTreeSet<usize>,
    /// The table has moved: where it was, and how many clusters.
    pub(super) moved: Option<(u64, u64)>,
    /// The first cluster that has never been used.
    next: u64,
    reserved: Arc<Reserved>,
}

impl Refcounts {
    pub(super) fn open(
        storage: Arc<dyn Storage>,
        header: &Header,
        reserved: Arc<Reserved>,
        next: u64,
    ) -> io::Result<Refcounts> {
        let geometry = Geometry::of(header);
        let len = u64::from(header.reftable_clusters) << header.cluster_bits;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        storage.read_bytes(header.reftable_offset, &mut bytes)?;
        let table: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word)).collect();
        for &entry in table.iter().filter(|&&entry| entry != 0) {
            if geometry.in_cluster(entry) != 0 || geometry.cluster_of(entry) >= next {
                return Err(QcowError::Corrupt("its refcount table is malformed").into());
            }
            reserved.add(geometry.cluster_of(entry), 1)?;
        }
        Ok(Refcounts {
            storage,
            geometry,
            order: header.refcount_order,
            table,
            table_offset: header.reftable_offset,
            blocks: BTreeMap::new(),
            new_entries: BTreeSet::new(),
            moved: None,
            next,
            reserved,
        })
    }

    /// Refcounts in a block.
    fn per_block(&self) -> u64 {
        (self.geometry.cluster_size() * 8) >> self.order
    }

    pub(super) fn table_clusters(&self) -> u64 {
        (self.table.len() as u64 * 8).div_ceil(self.geometry.cluster_size())
    }

    /// A block, from the file if need be. There must be one.
    fn block(&mut self, index: u64) -> io::Result<&mut Block> {
        if !self.blocks.contains_key(&index) {
            let place = usize::try_from(index).ok().and_then(|index| self.table.get(index)).copied();
            let place = place.filter(|&place| place != 0);
            let place = place.ok_or(QcowError::Corrupt("a cluster in use has no refcount"))?;
            let mut bytes = vec![0; usize::try_from(self.geometry.cluster_size()).unwrap_or(0)];
            self.storage.read_bytes(place, &mut bytes)?;
            if self.blocks.len() >= KEPT_BLOCKS {
                self.blocks.retain(|_, block| !block.dirty.is_empty());
            }
            self.blocks.insert(index, Block { bytes, dirty: BTreeSet::new() });
        }
        self.blocks.get_mut(&index).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn get(&mut self, cluster: u64) -> io::Result<u64> {
        let (order, per_block) = (self.order, self.per_block());
        Ok(read_count(&self.block(cluster / per_block)?.bytes, order, cluster % per_block))
    }

    pub(super) fn set(&mut self, cluster: u64, count: u64) -> io::Result<()> {
        let (order, per_block) = (self.order, self.per_block());
        let block = self.block(cluster / per_block)?;
        if let Some(at) = write_count(&mut block.bytes, order, cluster % per_block, count) {
            block.dirty.insert(at / PIECE);
        }
        Ok(())
    }

    /// Whether a cluster may be referred to once more.
    pub(super) fn can_count(&mut self, cluster: u64) -> io::Result<bool> {
        let most = if self.order == 6 { u64::MAX } else { (1 << (1u32 << self.order)) - 1 };
        Ok(self.get(cluster)? < most)
    }

    /// One reference more.
    pub(super) fn add(&mut self, cluster: u64) -> io::Result<()> {
        let count = self.get(cluster)?;
        self.set(cluster, count.saturating_add(1))
    }

    /// Makes a count larger, also where there was no room for it.
    pub(super) fn raise(&mut self, cluster: u64, count: u64) -> io::Result<()> {
        self.ensure_block(cluster / self.per_block())?;
        self.set(cluster, count)
    }

    /// Takes up to `max` clusters in a row; returns the first, and how many there are.
    pub(super) fn allocate(&mut self, max: u64) -> io::Result<(u64, u64)> {
        let per_block = self.per_block();
        for _ in 0..MAX_SKIPPED {
            let first = self.next;
            if first.saturating_add(max) >= 1 << (56 - self.geometry.cluster_bits) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.ensure_block(first / per_block)?;
            if self.next != first {
                continue;
            }
            let end = first.saturating_add(max.max(1)).min((first / per_block + 1) * per_block);
            let mut count = 0;
            while first + count < end && self.is_free(first + count)? {
                self.set(first + count, 1)?;
                count += 1;
            }
            self.advance(first + count.max(1));
            if count > 0 {
                return Ok((first, count));
            }
        }
        Err(QcowError::Corrupt("its refcounts claim clusters far behind its end").into())
    }

    fn is_free(&mut self, cluster: u64) -> io::Result<bool> {
        Ok(self.get(cluster)? == 0 && !self.reserved.contains(cluster))
    }

    fn advance(&mut self, next: u64) {
        self.next = next;
        self.reserved.set_end(next);
    }

    /// Gives clusters back that nothing refers to: one reference less for each.
    pub(super) fn release(&mut self, first: u64, count: u64) -> io::Result<()> {
        for cluster in first..first.saturating_add(count) {
            let Some(left) = self.get(cluster)?.checked_sub(1) else { continue };
            self.set(cluster, left)?;
            if left == 0 && !self.reserved.contains(cluster) {
                let size = self.geometry.cluster_size();
                self.storage.punch(cluster * size, size)?;
            }
        }
        Ok(())
    }

    /// Takes back what [`Refcounts::allocate`] gave and nothing has ever referred to. It is as good as never used: a guest
    /// that goes on writing to a full disk must not make the file, and its refcounts, longer each time.
    pub(super) fn give_back(&mut self, first: u64, count: u64) -> io::Result<()> {
        self.release(first, count)?;
        if self.next == first.saturating_add(count) {
            self.advance(first);
        }
        Ok(())
    }

    /// Makes a block for refcounts that have none, in the next free cluster.
    fn ensure_block(&mut self, index: u64) -> io::Result<()> {
        let at = usize::try_from(index).map_err(|_| io::ErrorKind::StorageFull)?;
        if at >= self.table.len() {
            self.grow_table(index)?;
        }
        if self.table.get(at).is_none_or(|&entry| entry != 0) {
            return Ok(());
        }
        let cluster = self.next;
        self.advance(cluster + 1);
        self.reserved.add(cluster, 1)?;
        if let Some(entry) = self.table.get_mut(at) {
            *entry = cluster << self.geometry.cluster_bits;
        }
        self.new_entries.insert(at);
        let bytes = vec![0; usize::try_from(self.geometry.cluster_size()).unwrap_or(0)];
        let dirty = (0..bytes.len().div_ceil(PIECE)).collect();
        self.blocks.insert(index, Block { bytes, dirty });
        self.ensure_block(cluster / self.per_block())?;
        self.set(cluster, 1)
    }

    /// Makes a larger table, behind everything, so that there can be a block `index`.
    fn grow_table(&mut self, index: u64) -> io::Result<()> {
        let size = self.geometry.cluster_size();
        let wanted = (index + 1 + index / 2 + 64) * 8;
        let clusters = wanted.div_ceil(size);
        if clusters * size > MAX_TABLE_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let old = (self.table_offset, self.table_clusters());
        // If the table moves twice between flushes, the file still has the first one.
        let first = self.next;
        self.advance(first + clusters);
        self.reserved.add(first, clusters)?;
        self.table_offset = first * size;
        self.table.resize(usize::try_from(clusters * size / 8).unwrap_or(0), 0);
        for cluster in first..first + clusters {
            self.ensure_block(cluster / self.per_block())?;
            self.set(cluster, 1)?;
        }
        // If the table moves twice between flushes, the file still has the first one.
        if self.moved.is_none() {
            self.moved = Some(old);
            return Ok(());
        }
        let first = self.geometry.cluster_of(old.0);
        self.reserved.remove(first, old.1);
        self.release(first, old.1)
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.moved.is_some()
            || !self.new_entries.is_empty()
            || self.blocks.values().any(|block| !block.dirty.is_empty())
    }

    /// Writes changed blocks. They count for nothing, or too much, until what refers to clusters is written.
    pub(super) fn write_blocks(&mut self) -> io::Result<()> {
        for (&index, block) in &mut self.blocks {
            let place =
                usize::try_from(index).ok().and_then(|index| self.table.get(index)).copied().unwrap_or(0);
            for &piece in &block.dirty {
                let at = piece * PIECE;
                let end = (at + PIECE).min(block.bytes.len());
                self.storage.write_bytes(place + at as u64, block.bytes.get(at..end).unwrap_or_default())?;
            }
            block.dirty.clear();
        }
        Ok(())
    }

    /// Whether the table itself has changes that are not in the file.
    pub(super) fn table_is_dirty(&self) -> bool {
        !self.new_entries.is_empty() || self.moved.is_some()
    }

    /// Writes the table's changes; all of it if it has moved.
    pub(super) fn write_table(&mut self) -> io::Result<()> {
        let bytes: Vec<u8> = self.table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        if self.moved.is_some() {
            self.storage.write_bytes(self.table_offset, &bytes)?;
        } else {
            let pieces: BTreeSet<usize> = self.new_entries.iter().map(|entry| entry * 8 / PIECE).collect();
            for piece in pieces {
                let at = piece * PIECE;
                let end = (at + PIECE).min(bytes.len());
                self.storage
                    .write_bytes(self.table_offset + at as u64, bytes.get(at..end).unwrap_or_default())?;
            }
        }
        self.new_entries.clear();
        Ok(())
    }
}

/// Entry `index` of a block whose entries have `1 << order` bits.
pub(super) fn read_count(block: &[u8], order: u32, index: u64) -> u64 {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    if order < 3 {
        let per_byte = 8usize >> order;
        let byte = block.get(index / per_byte).copied().unwrap_or(0);
        let shift = (index % per_byte) << order;
        return u64::from(byte >> shift) & ((1 << (1u32 << order)) - 1);
    }
    let width = 1usize << (order - 3);
    let bytes = index.checked_mul(width).and_then(|at| block.get(at..)?.get(..width)).unwrap_or_default();
    bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Changes an entry; returns the byte where it is. A count that does not fit is cut to the most that does.
pub(super) fn write_count(block: &mut [u8], order: u32, index: u64, count: u64) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    if order < 3 {
        let per_byte = 8usize >> order;
        let at = index / per_byte;
        let shift = (index % per_byte) << order;
        let mask = u8::try_from((1u32 << (1u32 << order)) - 1).unwrap_or(u8::MAX);
        let count = u8::try_from(count).unwrap_or(u8::MAX).min(mask);
        let byte = block.get_mut(at)?;
        *byte = *byte & !(mask << shift) | count << shift;
        return Some(at);
    }
    let width = 1usize << (order - 3);
    let at = index.checked_mul(width)?;
    let place = block.get_mut(at..)?.get_mut(..width)?;
    let fits = if width < 8 { count.min((1 << (width * 8)) - 1) } else { count };
    let bytes = fits.to_be_bytes();
    for (to, from) in place.iter_mut().rev().zip(bytes.iter().rev()) {
        *to = *from;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_widths_read_as_written_beside_each_other() {
        for order in 0..=6 {
            let mut block = vec![0xff; 512];
            let most = if order == 6 { u64::MAX } else { (1u64 << (1u32 << order)) - 1 };
            for index in 0..20 {
                write_count(&mut block, order, index, index % (most.min(7) + 1)).unwrap();
            }
            for index in 0..20 {
                assert_eq!(read_count(&block, order, index), index % (most.min(7) + 1), "{order} {index}");
            }
            assert_eq!(read_count(&block, order, 20), most);
            assert_eq!(write_count(&mut block, order, u64::MAX, 1), None);
        }
    }
}
