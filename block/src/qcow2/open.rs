//! Opening an image and what lies below it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use super::chain::{Chain, Layer, MAX_LAYERS};
use super::core::Core;
use super::entry::Geometry;
use super::error::QcowError;
use super::image::Image;
use super::{QcowDisk, Shared, State};
use crate::disk::{DiscardLimits, Disk, DiskError, DiskInfo, WriteZeroesLimits};
use crate::engine::EngineKind;
use crate::raw::{CacheMode, RawDisk, RawOptions};
use crate::storage::Storage;
use crate::target::{Kind, Target};

/// Longest zeroing or discard in one request.
const MAX_RANGE: u64 = 1 << 30;

/// How to open a qcow2 disk.
#[derive(Clone, Debug, Default)]
pub struct QcowOptions {
    /// Open it for reading only.
    pub read_only: bool,
    /// Host caching.
    pub cache: CacheMode,
    /// Which engine carries out the I/O.
    pub engine: EngineKind,
    /// Take no lock: for reading only, while others may write the image.
    pub shareable: bool,
    /// Take the lock only when told to ([`Disk::hold`](crate::Disk::hold)): until then another process has the image, and
    /// gives it away flushed. Only its size is read before that.
    pub lock_later: bool,
    /// The backing files, the nearest first. The names that the images themselves have for them are not used.
    pub backing: Vec<Backing>,
}

/// A backing file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A raw one, which ends the chain.
    Raw(PathBuf),
    /// A qcow2 one.
    Qcow2(PathBuf),
}

impl QcowDisk {
    /// Opens the image at `path`. Its backing files are only read.
    ///
    /// # Errors
    /// When a file cannot be opened, is in use, or is not an image that can be read, or written, safely.
    pub fn open(path: &Path, options: &QcowOptions) -> Result<QcowDisk, DiskError> {
        if options.shareable && !options.read_only {
            let what = QcowError::Unsupported("writing by several at a time".into(), "");
            return Err(format_error(path, what));
        }
        let file = RawDisk::open(
            path,
            RawOptions {
                read_only: options.read_only,
                lock_later: options.lock_later,
                ..raw_options(options)
            },
        )?;
        Layers::check_depth(path, options.backing.len())?;
        let mut files = Vec::new();
        let mut below = Vec::new();
        for backing in &options.backing {
            let (Backing::Raw(path) | Backing::Qcow2(path)) = backing;
            let file = RawDisk::open(path, raw_options(options))?;
            below.push((backing.clone(), file.info().size_bytes));
            files.push(match backing {
                Backing::Raw(_) => Arc::clone(file.target()),
                Backing::Qcow2(_) => zero_padded(&file)?,
            });
        }
        let layers = Layers::new(&file, path, files, below)?;
        let state = if options.lock_later && !options.read_only {
            State::Away(layers.glance()?)
        } else {
            State::Here(Arc::new(layers.load(options.engine)?))
        };
        Ok(QcowDisk { layers, engine: options.engine, state: RwLock::new(state) })
    }
}

/// The files of an image and of what lies below it, open.
#[derive(Debug)]
pub(super) struct Layers {
    path: PathBuf,
    /// The image's own first.
    pub(super) files: Vec<Arc<Target>>,
    /// The backing files, and the bytes in each.
    below: Vec<(Backing, u64)>,
    /// What the image's file is.
    own: DiskInfo,
}

impl Layers {
    /// An image's file, and what lies below it.
    pub(super) fn new(
        file: &RawDisk,
        path: &Path,
        files: Vec<Arc<Target>>,
        below: Vec<(Backing, u64)>,
    ) -> Result<Self, DiskError> {
        let files = std::iter::once(zero_padded(file)?).chain(files).collect();
        Ok(Self { path: path.to_owned(), files, below, own: file.info() })
    }

    /// The backing files, and the bytes in each.
    pub(super) fn below(&self) -> &[(Backing, u64)] {
        &self.below
    }

    /// Bytes in the image's own file.
    pub(super) fn own_bytes(&self) -> u64 {
        self.own.size_bytes
    }

    /// Fails if another image would make the chain too long.
    pub(super) fn check_depth(path: &Path, below: usize) -> Result<(), DiskError> {
        if below < MAX_LAYERS {
            return Ok(());
        }
        let what = QcowError::Unsupported("too long a chain of backing files".into(), "");
        Err(format_error(path, what))
    }

    /// What the disk looks like, by the image's header alone: all else another process may be changing.
    pub(super) fn glance(&self) -> Result<DiskInfo, DiskError> {
        let storage = self.top()?;
        let header = Core::header(&**storage).map_err(|error| open_error(&self.path, error))?;
        info(&self.path, header.disk_size(), Geometry::of(&header), &self.own)
    }

    /// Reads the tables of all layers.
    pub(super) fn load(&self, engine: EngineKind) -> Result<Shared, DiskError> {
        let path = &self.path;
        let top = core(self.top()?, path)?;
        let mut has_backing = top.header.backing.clone();
        let mut below = Vec::new();
        for ((backing, size), file) in self.below.iter().zip(self.files.iter().skip(1)) {
            if has_backing.is_none() {
                return Err(format_error(path, QcowError::NoBacking));
            }
            match backing {
                Backing::Raw(_) => {
                    below.push(Layer::Raw { storage: Arc::clone(file) as Arc<dyn Storage>, size: *size });
                    has_backing = None;
                }
                Backing::Qcow2(path) => {
                    let core = core(file, path)?;
                    has_backing.clone_from(&core.header.backing);
                    below.push(Layer::Qcow2(Box::new(core)));
                }
            }
        }
        if let Some(name) = has_backing {
            return Err(format_error(path, QcowError::HasBacking(name)));
        }
        let info = info(path, top.size, top.geometry, &self.own)?;
        let chain = Chain { top, below };
        let image = if self.own.read_only {
            Image::read_only(chain)
        } else if self.top()?.kind == Kind::Regular {
            Image::writable(chain).map_err(|error| open_error(path, error))?
        } else {
            return Err(format_error(
                path,
                QcowError::Unsupported("a block device".into(), " for an image that is written"),
            ));
        };
        Ok(Shared { image, files: self.files.clone(), info, engine })
    }

    pub(super) fn top(&self) -> Result<&Arc<Target>, DiskError> {
        let missing = || DiskError::Geometry { path: self.path.clone(), reason: "it has no file" };
        self.files.first().ok_or_else(missing)
    }
}

fn raw_options(options: &QcowOptions) -> RawOptions {
    RawOptions {
        read_only: true,
        cache: options.cache,
        shareable: options.shareable,
        lock_later: false,
        engine: options.engine,
    }
}

/// The file of an image: unlike a raw disk's, it reads as zeroes behind its end.
pub(super) fn zero_padded(file: &RawDisk) -> Result<Arc<Target>, DiskError> {
    let target = Arc::clone(file.target());
    target.zeroes_from.store(0, std::sync::atomic::Ordering::Relaxed);
    Ok(target)
}

fn core(target: &Arc<Target>, path: &Path) -> Result<Core, DiskError> {
    let core = Core::open(Arc::clone(target) as Arc<dyn Storage>).map_err(|error| open_error(path, error))?;
    let block = target.direct.map_or(512, |align| align.offset);
    if core.geometry.unit_size() < u64::from(block) {
        let reason = "its clusters are smaller than the blocks that direct I/O needs";
        let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
        return Err(DiskError::NoDirect { path: path.to_owned(), source });
    }
    Ok(core)
}

fn info(path: &Path, size: u64, geometry: Geometry, file: &DiskInfo) -> Result<DiskInfo, DiskError> {
    let block = u64::from(file.logical_block_size);
    let size_bytes = size / block * block;
    if size_bytes == 0 {
        return Err(DiskError::Geometry { path: path.to_owned(), reason: "its disk is empty" });
    }
    let granularity = u32::try_from(geometry.unit_size()).unwrap_or(512);
    let writable = !file.read_only;
    let discard = writable.then_some(DiscardLimits { max_bytes: MAX_RANGE, granularity });
    let write_zeroes = writable.then_some(WriteZeroesLimits { max_bytes: MAX_RANGE, may_unmap: true });
    Ok(DiskInfo { size_bytes, discard, write_zeroes, ..*file })
}

fn format_error(path: &Path, source: QcowError) -> DiskError {
    DiskError::Format { path: path.to_owned(), source }
}

/// Tells a bad image from a host that cannot read it.
pub(super) fn open_error(path: &Path, error: io::Error) -> DiskError {
    match error.downcast::<QcowError>() {
        Ok(source) => format_error(path, source),
        Err(source) => DiskError::Io { doing: "read the tables of", path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{CreateOptions, Format, create};
    use crate::sys::DirectAlign;

    #[test]
    fn clusters_too_small_for_direct_io_leave_the_choice_of_another_cache_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.qcow2");
        let options = CreateOptions { extended_l2: true, ..CreateOptions::new(Format::Qcow2, 1 << 20) };
        create(&path, &options).unwrap();
        for (offset, fits) in [(512, true), (4096, false)] {
            let mut target = Target::scratch(std::fs::File::open(&path).unwrap(), &path);
            target.direct = Some(DirectAlign { memory: 512, offset });
            match core(&Arc::new(target), &path) {
                Ok(_) => assert!(fits),
                Err(error) => assert!(!fits && matches!(error, DiskError::NoDirect { .. }), "{error}"),
            }
        }
    }
}
