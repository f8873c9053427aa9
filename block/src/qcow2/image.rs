//! A chain whose first image may be written.
//!
//! Clusters that the image owns are written where they are, by anybody, without a lock; once owned,
//! a cluster stays where it is until the image is closed. Everything else that changes the image
//! happens under `writer`.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chain::Chain;
use super::core::Core;
use super::entry::{Cluster, Geometry, Host, Packed};
use super::error::QcowError;
use super::header::{CORRUPT, DIRTY};
use super::refcount::Refcounts;
use super::reserved::Reserved;
use super::slices::Slice;

/// Changed slices in memory from which on they are written without anybody asking.
const MAX_DIRTY: usize = 1024;

#[derive(Debug)]
pub(super) struct Image {
    pub(super) chain: Chain,
    writer: Option<Mutex<Writer>>,
    /// Whether there is anything that [`Image::flush`] has to write.
    dirty: AtomicBool,
}

/// What only one thread at a time may do.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) refcounts: Refcounts,
    pub(super) reserved: Arc<Reserved>,
    /// L1 entries that are not in the file: L2 tables that nothing in the file refers to yet.
    pub(super) new_tables: BTreeSet<usize>,
    /// Changed slices, at most; some may be counted twice.
    pub(super) dirty_slices: usize,
    /// What nothing refers to any more once the tables have been written.
    pub(super) dropped: Vec<Dropped>,
    /// Room behind the last compressed cluster: its first byte, and the end of the cluster.
    pub(super) stream_space: Option<(u64, u64)>,
}

/// Something that will be free.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropped {
    pub(super) first: u64,
    pub(super) clusters: u64,
}

impl Image {
    pub(super) fn read_only(chain: Chain) -> Image {
        Image { chain, writer: None, dirty: AtomicBool::new(false) }
    }

    /// Makes the first image of a chain writable.
    pub(super) fn writable(mut chain: Chain) -> io::Result<Image> {
        let top = &mut chain.top;
        let header = &top.header;
        let refuse =
            |what: &str| Err(QcowError::Unsupported(what.to_owned(), " in an image that is written").into());
        if header.snapshots > 0 {
            return refuse("internal snapshots");
        }
        if header.has_bitmaps {
            return refuse("dirty bitmaps");
        }
        if header.incompatible & CORRUPT != 0 {
            return Err(QcowError::Corrupt("it is marked so; check and repair it first").into());
        }
        if header.incompatible & DIRTY != 0 {
            return Err(QcowError::Corrupt("it was not closed; check and repair it first").into());
        }
        let geometry = top.geometry;
        let next = top.file_len.load(Ordering::Relaxed).div_ceil(geometry.cluster_size());
        let reserved = Arc::new(Reserved::new(next));
        reserved.add(0, 1)?;
        let size = geometry.cluster_size();
        reserved
            .add(geometry.cluster_of(header.l1_offset), (u64::from(header.l1_size) * 8).div_ceil(size))?;
        reserved.add(geometry.cluster_of(header.reftable_offset), u64::from(header.reftable_clusters))?;
        for entry in &top.l1 {
            if let Some(table) = geometry.l1(entry.load(Ordering::Relaxed))? {
                if !table.owned {
                    return Err(QcowError::Corrupt("an L2 table is shared, and there is no snapshot").into());
                }
                reserved.add(geometry.cluster_of(table.offset), 1)?;
            }
        }
        let refcounts = Refcounts::open(Arc::clone(&top.storage), header, Arc::clone(&reserved), next)?;
        if header.autoclear != 0 {
            // Whatever these bits vouch for, we do not keep it up.
            super::flush::patch_header(&*top.storage, size, 88, &[0; 8])?;
        }
        top.reserved = Some(Arc::clone(&reserved));
        let writer = Writer {
            refcounts,
            reserved,
            new_tables: BTreeSet::new(),
            dirty_slices: 0,
            dropped: Vec::new(),
            stream_space: None,
        };
        Ok(Image { chain, writer: Some(Mutex::new(writer)), dirty: AtomicBool::new(false) })
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writer.is_some()
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Takes the right to change the image.
    pub(super) fn lock(&self) -> io::Result<MutexGuard<'_, Writer>> {
        let writer = self.writer.as_ref().ok_or(io::ErrorKind::ReadOnlyFilesystem)?;
        Ok(writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes everything that has been written durable, so that it survives whatever happens next.
    pub(super) fn flush(&self) -> io::Result<()> {
        if !self.is_writable() {
            return Ok(());
        }
        let mut writer = self.lock()?;
        writer.flush(&self.chain.top)?;
        self.dirty.store(writer.refcounts.is_dirty(), Ordering::Release);
        Ok(())
    }

    /// Before tables are changed: keeps what waits to be written within bounds.
    pub(super) fn begin_change(&self, writer: &mut Writer) -> io::Result<()> {
        self.dirty.store(true, Ordering::Release);
        if writer.dirty_slices > MAX_DIRTY {
            writer.flush(&self.chain.top)?;
        }
        Ok(())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Twice: the first makes clusters free, the second says so in the file.
        for _ in 0..2 {
            if self.is_dirty() && self.flush().is_err() {
                // Whoever cares has called flush, and been told.
                break;
            }
        }
    }
}

impl Writer {
    /// The slice with a cluster's entry, making an L2 table if there is none, and the index in it.
    pub(super) fn slice(&mut self, core: &Core, cluster: u64) -> io::Result<(Arc<Slice>, u64)> {
        if let (Some(slice), index) = core.slice(cluster)? {
            return Ok((slice, index));
        }
        let table = usize::try_from(cluster / core.geometry.l2_entries()).unwrap_or(usize::MAX);
        let entry = core.l1.get(table).ok_or(io::ErrorKind::InvalidInput)?;
        let (host, _) = self.refcounts.allocate(1)?;
        self.reserved.add(host, 1)?;
        entry.store(Geometry::l1_entry(host << core.geometry.cluster_bits), Ordering::Release);
        self.new_tables.insert(table);
        match core.slice(cluster)? {
            (Some(slice), index) => Ok((slice, index)),
            (None, _) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Changes a cluster's entry. What it referred to before is free after the next flush.
    pub(super) fn set(&mut self, core: &Core, cluster: u64, new: Cluster) -> io::Result<()> {
        let geometry = core.geometry;
        let (slice, index) = self.slice(core, cluster)?;
        let old = geometry.l2(slice.get(geometry, index))?;
        slice.set(geometry, index, Geometry::l2_entry(new));
        self.dirty_slices += 1;
        let kept = host(new);
        match old {
            Cluster::Compressed(packed) => self.drop_packed(geometry, packed),
            old => {
                if let Some(old) = host(old).filter(|old| kept.is_none_or(|kept| kept.offset != old.offset)) {
                    self.dropped.push(Dropped { first: geometry.cluster_of(old.offset), clusters: 1 });
                }
            }
        }
        Ok(())
    }

    fn drop_packed(&mut self, geometry: Geometry, packed: Packed) {
        let offset = packed.offset(geometry);
        let first = geometry.cluster_of(offset);
        let last = geometry.cluster_of(offset + packed.len(geometry) - 1);
        self.dropped.push(Dropped { first, clusters: last - first + 1 });
    }
}

/// The host cluster that an entry refers to.
pub(super) fn host(cluster: Cluster) -> Option<Host> {
    match cluster {
        Cluster::Data(host) => Some(host),
        Cluster::Zero(host) | Cluster::Divided(host, _) => host,
        Cluster::Absent | Cluster::Compressed(_) => None,
    }
}
