//! Opening an image and what lies below it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain::{Chain, Layer, MAX_LAYERS};
use super::core::Core;
use super::error::QcowError;
use super::image::Image;
use super::{QcowDisk, Shared};
use crate::disk::{DiscardLimits, DiskError, DiskInfo, WriteZeroesLimits};
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
    /// Take the lock only when told to ([`Disk::hold`](crate::Disk::hold)): until then another process has the image, and does not
    /// change it.
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
        let mut files = vec![zero_padded(&file)?];
        let top = core(&files, path)?;
        let mut has_backing = top.header.backing.clone();
        let mut below = Vec::new();
        if options.backing.len() >= MAX_LAYERS {
            return Err(format_error(
                path,
                QcowError::Unsupported("too long a chain of backing files".into(), ""),
            ));
        }
        for backing in &options.backing {
            if has_backing.is_none() {
                return Err(format_error(path, QcowError::NoBacking));
            }
            let (path, raw) = match backing {
                Backing::Raw(path) => (path, true),
                Backing::Qcow2(path) => (path, false),
            };
            let file = RawDisk::open(path, raw_options(options))?;
            if raw {
                let size = crate::Disk::info(&file).size_bytes;
                files.push(Arc::clone(file.target()));
                below.push(Layer::Raw { storage: Arc::clone(file.target()) as Arc<dyn Storage>, size });
                has_backing = None;
            } else {
                files.push(zero_padded(&file)?);
                let core = core(&files, path)?;
                has_backing = core.header.backing.clone();
                below.push(Layer::Qcow2(Box::new(core)));
            }
        }
        if let Some(name) = has_backing {
            return Err(format_error(path, QcowError::HasBacking(name)));
        }
        let file_info = crate::Disk::info(&file);
        let info = info(path, &top, &file_info)?;
        let chain = Chain { top, below };
        let image = if file_info.read_only {
            Image::read_only(chain)
        } else if file.target().kind == Kind::Regular {
            Image::writable(chain).map_err(|error| open_error(path, error))?
        } else {
            return Err(format_error(
                path,
                QcowError::Unsupported("a block device".into(), " for an image that is written"),
            ));
        };
        Ok(QcowDisk { shared: Arc::new(Shared { image, files, info, engine: options.engine }) })
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

fn core(files: &[Arc<Target>], path: &Path) -> Result<Core, DiskError> {
    let missing = || DiskError::Geometry { path: path.to_owned(), reason: "it has no file" };
    let target = files.last().ok_or_else(missing)?;
    let core = Core::open(Arc::clone(target) as Arc<dyn Storage>).map_err(|error| open_error(path, error))?;
    let block = target.direct.map_or(512, |align| align.offset);
    if core.geometry.unit_size() < u64::from(block) {
        let reason = "its clusters are smaller than the blocks that direct I/O needs";
        let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
        return Err(DiskError::NoDirect { path: path.to_owned(), source });
    }
    Ok(core)
}

fn info(path: &Path, top: &Core, file: &DiskInfo) -> Result<DiskInfo, DiskError> {
    let block = u64::from(file.logical_block_size);
    let size_bytes = top.size / block * block;
    if size_bytes == 0 {
        return Err(DiskError::Geometry { path: path.to_owned(), reason: "its disk is empty" });
    }
    let granularity = u32::try_from(top.geometry.unit_size()).unwrap_or(512);
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
            match core(&[Arc::new(target)], &path) {
                Ok(_) => assert!(fits),
                Err(error) => assert!(!fits && matches!(error, DiskError::NoDirect { .. }), "{error}"),
            }
        }
    }
}
