//! Copy-on-write disks: a base that is never written, under a scratch file that is.
//!
//! The scratch file has no name and goes with the disk, so nothing in it needs to be durable: a
//! flush has nothing to do. Its layout is the disk's own, so that once a cluster has been written,
//! using it costs no more than a raw file does; one bit per cluster says which file holds it.

mod bitmap;
mod queue;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bitmap::Bitmap;

use crate::buf::Bufs;
use crate::disk::{DiscardLimits, Disk, DiskError, DiskInfo, DiskQueue, Stretch, WriteZeroesLimits};
use crate::engine::EngineKind;
use crate::host_file::HostFile;
use crate::queue::FormatQueue;
use crate::raw::RawDisk;
use crate::target::Target;

/// What is copied from the base at a time, in bytes.
const CLUSTER: u64 = 64 << 10;
const CLUSTER_BYTES: usize = 64 << 10;
/// Longest zeroing or discard in one request.
const MAX_RANGE: u64 = 1 << 30;

/// A writable disk over a base that stays as it is. Everything written is gone when the disk is.
#[derive(Debug)]
pub struct CowDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    base: Arc<Target>,
    overlay: Arc<Target>,
    info: DiskInfo,
    /// Which clusters the overlay holds. A bit is set once the overlay's cluster is whole, under `growing`.
    written: Bitmap,
    /// Held while clusters move from base to overlay. Reads, and writes to clusters that have moved, do without.
    growing: Mutex<()>,
    engine: EngineKind,
}

impl CowDisk {
    /// Puts `scratch`, an empty file without a name, over `base`.
    ///
    /// # Errors
    /// When the scratch file cannot be made as large as the base.
    pub fn open(base: &RawDisk, scratch: File, engine: EngineKind) -> Result<CowDisk, DiskError> {
        let base_info = base.info();
        let path = Path::new("(overlay)");
        scratch.set_len(base_info.size_bytes).map_err(|source| DiskError::Io {
            doing: "size the scratch file for writes,",
            path: path.to_owned(),
            source,
        })?;
        let granularity = u32::try_from(CLUSTER_BYTES).unwrap_or(1 << 16);
        let info = DiskInfo {
            read_only: false,
            discard: Some(DiscardLimits { max_bytes: MAX_RANGE, granularity }),
            write_zeroes: Some(WriteZeroesLimits { max_bytes: MAX_RANGE, may_unmap: true }),
            write_cache: false,
            ..base_info
        };
        let shared = Shared {
            base: Arc::clone(base.target()),
            overlay: Arc::new(Target::scratch(scratch, path)),
            info,
            written: Bitmap::new(info.size_bytes.div_ceil(CLUSTER)),
            growing: Mutex::new(()),
            engine,
        };
        Ok(CowDisk { shared: Arc::new(shared) })
    }
}

impl Disk for CowDisk {
    fn info(&self) -> DiskInfo {
        self.shared.info
    }

    fn open_queue(&self, depth: u16) -> Result<Box<dyn DiskQueue>, DiskError> {
        let shared = &self.shared;
        let files = vec![Arc::clone(&shared.base), Arc::clone(&shared.overlay)];
        Ok(Box::new(FormatQueue::open(shared, shared.engine, depth, files)?))
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn stretch(&self, offset: u64, max: u64) -> io::Result<(Stretch, u64)> {
        let run = self.shared.run(offset, max);
        Ok((if run.written { Stretch::Data } else { Stretch::Base }, run.len))
    }

    fn bases(&self) -> Vec<HostFile> {
        vec![HostFile::of(&self.shared.base)]
    }
}

/// What is to be put into a range of the disk.
#[derive(Clone, Copy)]
enum Fill<'a> {
    Data(&'a Bufs),
    Zero,
}

impl Shared {
    /// Bytes of the disk in a cluster: the last one may be cut short.
    fn cluster_len(&self, cluster: u64) -> u64 {
        self.info.size_bytes.saturating_sub(cluster * CLUSTER).min(CLUSTER)
    }

    /// Puts something into a range within one cluster; afterwards, the overlay holds the cluster.
    fn put(&self, offset: u64, len: u64, fill: Fill<'_>) -> io::Result<()> {
        let cluster = offset / CLUSTER;
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.written.get(cluster) && len < self.cluster_len(cluster) {
            self.copy_up(cluster)?;
        }
        match fill {
            Fill::Data(bufs) => self.overlay.write(offset, bufs)?,
            Fill::Zero => self.overlay.write_zeroes(offset, len, true)?,
        }
        self.written.set(cluster);
        Ok(())
    }

    /// Copies a cluster from the base. Called with `growing` held.
    fn copy_up(&self, cluster: u64) -> io::Result<()> {
        let len = usize::try_from(self.cluster_len(cluster)).unwrap_or(CLUSTER_BYTES);
        let mut bytes = vec![0; len];
        let bufs = Bufs::borrowing(&mut bytes);
        self.base.read(cluster * CLUSTER, &bufs)?;
        self.overlay.write(cluster * CLUSTER, &bufs)
    }

    /// Zeroes a range; with `whole_only`, only the whole clusters in it.
    fn zero(&self, mut offset: u64, len: u64, whole_only: bool) -> io::Result<()> {
        let end = offset.saturating_add(len);
        while offset < end {
            let cluster = offset / CLUSTER;
            let piece = (end - offset).min(CLUSTER - offset % CLUSTER);
            if !whole_only || piece == self.cluster_len(cluster) {
                self.put(offset, piece, Fill::Zero)?;
            }
            offset += piece;
        }
        Ok(())
    }
}
