//! Raw disks: a file or block device whose bytes are the disk's.

mod geometry;
mod queue;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{Disk, DiskError, DiskInfo, DiskQueue, NewOverlay, Stretch};
use crate::engine::EngineKind;
use crate::host_file::HostFile;
use crate::ops::{ExtentKind, raw_extent};
use crate::qcow2::{Backing, Base, QcowDisk};
use crate::queue::FormatQueue;
use crate::target::{How, Locking, Target};

/// Where writes may linger: KubeVirt's `disks[].cache` and, beyond it, `qemu-img -t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// In the host's page cache, until the guest flushes.
    #[default]
    Writeback,
    /// Nowhere: each write is durable when it completes; reads come from the host's page cache.
    Writethrough,
    /// Past the host's page cache (`O_DIRECT`); in the device's cache until the guest flushes.
    None,
    /// Past the host's page cache, and each write is durable when it completes.
    Directsync,
    /// In the host's page cache; flushes do nothing. For what is worth nothing after a crash.
    Unsafe,
}

impl CacheMode {
    /// Whether I/O goes past the host's page cache.
    pub(crate) fn is_direct(self) -> bool {
        matches!(self, CacheMode::None | CacheMode::Directsync)
    }

    /// Whether each write is durable when it completes.
    pub(crate) fn is_through(self) -> bool {
        matches!(self, CacheMode::Writethrough | CacheMode::Directsync)
    }
}

/// How to open a raw disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawOptions {
    /// Refuse writes, and take only a shared lock.
    pub read_only: bool,
    /// Host caching.
    pub cache: CacheMode,
    /// Take no lock: several VMs write the disk and know what they do (KubeVirt's `shareable`).
    pub shareable: bool,
    /// Take the lock only when told to ([`Disk::hold`]): until then another process has the disk.
    pub lock_later: bool,
    /// Which engine carries out the I/O.
    pub engine: EngineKind,
}

impl RawOptions {
    fn how(self) -> How {
        How {
            read_only: self.read_only,
            direct: self.cache.is_direct(),
            dsync: self.cache.is_through(),
            nosync: self.cache == CacheMode::Unsafe,
            lock: match (self.shareable, self.lock_later) {
                (true, _) => Locking::Never,
                (false, true) => Locking::Later,
                (false, false) => Locking::Now,
            },
        }
    }
}

/// A raw disk.
///
/// A regular file whose size is no multiple of the block size is a disk of the next larger size;
/// the bytes that the file lacks read as zeroes, and a write there makes the file longer.
#[derive(Debug)]
pub struct RawDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Arc<Target>,
    /// `size_bytes` in here is the size at opening; `size` has the current one.
    fixed: DiskInfo,
    size: AtomicU64,
    engine: EngineKind,
}

impl Shared {
    fn info(&self) -> DiskInfo {
        DiskInfo { size_bytes: self.size.load(Ordering::Acquire), ..self.fixed }
    }
}

impl RawDisk {
    /// Opens and locks the file or block device at `path`.
    ///
    /// # Errors
    /// Missing, not permitted, in use by another process, no disk at all, or direct I/O asked for
    /// where the file system has none.
    pub fn open(path: &Path, options: RawOptions) -> Result<RawDisk, DiskError> {
        RawDisk::new(Target::open(path, options.how())?, options)
    }

    /// Makes a disk of a file that is open already (where the cache mode is direct, with `O_DIRECT`);
    /// `path` is for messages.
    ///
    /// # Errors
    /// As [`RawDisk::open`].
    pub fn from_file(file: File, path: &Path, options: RawOptions) -> Result<RawDisk, DiskError> {
        RawDisk::new(Target::from_file(file, path, options.how())?, options)
    }

    fn new(target: Target, options: RawOptions) -> Result<RawDisk, DiskError> {
        let fixed = geometry::info(&target, options)?;
        let size = AtomicU64::new(fixed.size_bytes);
        let shared = Shared { target: Arc::new(target), fixed, size, engine: options.engine };
        Ok(RawDisk { shared: Arc::new(shared) })
    }

    /// Opens the file `at`, which is to be called `named`, in the way that `like` is open, for writing.
    pub(crate) fn open_alike(
        at: &Path,
        named: &Path,
        like: &Target,
        engine: EngineKind,
    ) -> Result<RawDisk, DiskError> {
        let how = like.alike();
        let mut target = Target::open(at, how)?;
        named.clone_into(&mut target.path);
        let cache = if how.dsync { CacheMode::Writethrough } else { CacheMode::Writeback };
        RawDisk::new(target, RawOptions { cache, engine, ..RawOptions::default() })
    }

    /// The file, for formats built on top.
    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.shared.target
    }
}

impl Disk for RawDisk {
    fn info(&self) -> DiskInfo {
        self.shared.info()
    }

    fn refresh(&self) -> Result<DiskInfo, DiskError> {
        let shared = &self.shared;
        let size = geometry::current_size(&shared.target, shared.fixed.logical_block_size)?;
        shared.size.store(size, Ordering::Release);
        Ok(shared.info())
    }

    fn open_queue(&self, depth: u16) -> Result<Box<dyn DiskQueue>, DiskError> {
        let shared = &self.shared;
        Ok(Box::new(FormatQueue::open(shared, shared.engine, depth, vec![Arc::clone(&shared.target)])?))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.shared.target.sync().map_err(self.shared.target.error("flush"))
    }

    fn stretch(&self, offset: u64, max: u64) -> io::Result<(Stretch, u64)> {
        let (kind, len) = raw_extent(self, offset, max)?;
        let is_zero = matches!(kind, ExtentKind::Zero { .. });
        Ok((if is_zero { Stretch::Zeroes } else { Stretch::Data }, len))
    }

    fn host_file(&self) -> Option<HostFile> {
        Some(HostFile::of(&self.shared.target))
    }

    fn hold(&self) -> Result<(), DiskError> {
        self.shared.target.hold()
    }

    fn is_unclaimed(&self) -> bool {
        self.shared.target.is_unclaimed()
    }

    fn let_go(&self) -> Result<(), DiskError> {
        self.shared.target.let_go()
    }

    fn overlay(&self, new: &NewOverlay<'_>) -> Result<Arc<dyn Disk>, DiskError> {
        let target = &self.shared.target;
        let below = vec![(Backing::Raw(target.path.clone()), self.info().size_bytes)];
        let base = Base { info: self.info(), files: vec![Arc::clone(target)], below };
        Ok(Arc::new(QcowDisk::over(base, new, self.shared.engine)?))
    }

    fn lend(&self) -> Result<(), DiskError> {
        self.shared.target.lend()
    }
}
