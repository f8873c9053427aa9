//! Opening the disks of a plan.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use block::ops::{self, CreateOptions, Format, OpenOptions, Opened};
use block::qcow2::Backing;
use block::{CacheMode, CowDisk, Disk, DiskError, EngineKind, QcowDisk, QcowOptions, RawDisk, RawOptions};
use image::Store;

use super::{OpenError, layers, new_image, reference, scratch};
use crate::migration::storage::FilesDisk;
use crate::plan::{Cache, DiskPlan, DiskSource, Io, IsoFile, Storage};
use crate::sys::memory::memory_file;

/// Opens the disk called `name`; what is taken out of images is kept in `cache`.
pub(super) fn open(
    store: &Store,
    cache: &Path,
    name: &str,
    plan: &DiskPlan,
    lock_later: bool,
) -> Result<Arc<dyn Disk>, OpenError> {
    let fail = |source| OpenError::Disk { name: name.to_owned(), source };
    match &plan.source {
        DiskSource::Storage(storage) => {
            // A disk that another process has is there: a new one in its place would be empty.
            if let (Storage::RawOrNew { path, capacity }, false) = (storage, lock_later) {
                new_image::make(path, *capacity).map_err(|source| OpenError::File {
                    what: format!("disk {name}"),
                    path: path.clone(),
                    source,
                })?;
            }
            let opened = in_cache_mode(plan.cache, |mode| open_storage(storage, plan, mode, lock_later))
                .map_err(fail)?;
            Ok(opened.into_disk().into())
        }
        DiskSource::Ephemeral(storage) => ephemeral(storage, engine(plan)).map_err(fail),
        DiskSource::Empty(bytes) => {
            let file = scratch::file()
                .and_then(|file| file.set_len(*bytes).map(|()| file))
                .map_err(|source| OpenError::Host { what: format!("disk {name}"), source })?;
            from_file(file, name, plan.read_only, engine(plan)).map_err(fail)
        }
        DiskSource::ContainerDisk { image, path } => {
            container_disk((store, cache), name, image, path.as_deref(), engine(plan))
        }
        DiskSource::Iso { label, files } => iso(name, label, files),
    }
}

fn engine(plan: &DiskPlan) -> EngineKind {
    match plan.io {
        Io::Auto => EngineKind::Auto,
        Io::Native => EngineKind::Native,
        Io::Threads => EngineKind::Threads,
    }
}

/// Opens something in the wanted cache mode, or in the best one that it takes.
fn in_cache_mode<T>(wanted: Cache, open: impl Fn(CacheMode) -> Result<T, DiskError>) -> Result<T, DiskError> {
    match wanted {
        Cache::None => open(CacheMode::None),
        Cache::Writethrough => open(CacheMode::Writethrough),
        Cache::Writeback => open(CacheMode::Writeback),
        Cache::Auto => match open(CacheMode::None) {
            Err(DiskError::NoDirect { .. }) => open(CacheMode::Writethrough),
            result => result,
        },
    }
}

fn place(storage: &Storage) -> (&Path, Format) {
    match storage {
        Storage::Raw(path) | Storage::Device(path) | Storage::RawOrNew { path, .. } => (path, Format::Raw),
        Storage::Qcow2(path) => (path, Format::Qcow2),
    }
}

fn open_storage(
    storage: &Storage,
    plan: &DiskPlan,
    cache: CacheMode,
    lock_later: bool,
) -> Result<Opened, DiskError> {
    let (path, format) = place(storage);
    let options = OpenOptions {
        read_only: plan.read_only,
        cache,
        engine: engine(plan),
        shareable: plan.shareable,
        // Who only reads a disk keeps nobody from reading it, too.
        lock_later: lock_later && !plan.read_only,
        backing: below(path, format)?,
    };
    ops::open(path, format, &options)
}

fn below(path: &Path, format: Format) -> Result<Vec<Backing>, DiskError> {
    match format {
        Format::Raw => Ok(Vec::new()),
        Format::Qcow2 => layers::below(path),
    }
}

/// Storage that is only read, under a scratch overlay without a name.
fn ephemeral(storage: &Storage, engine: EngineKind) -> Result<Arc<dyn Disk>, DiskError> {
    let (path, format) = place(storage);
    match format {
        Format::Raw => over_raw(path, engine),
        Format::Qcow2 => {
            let below = layers::below(path)?;
            let size = {
                let options =
                    QcowOptions { read_only: true, backing: below.clone(), ..QcowOptions::default() };
                QcowDisk::open(path, &options)?.info().size_bytes
            };
            let backing = std::iter::once(Backing::Qcow2(path.to_owned())).chain(below).collect();
            let create = CreateOptions {
                backing: Some((path.display().to_string(), Format::Qcow2)),
                overwrite: true,
                ..CreateOptions::new(Format::Qcow2, size)
            };
            let file = overlay_file(path)?;
            let overlay = scratch::name_of(&file);
            ops::create(&overlay, &create)?;
            let options = QcowOptions { backing, engine, ..QcowOptions::default() };
            Ok(Arc::new(QcowDisk::open(&overlay, &options)?))
        }
    }
}

fn over_raw(path: &Path, engine: EngineKind) -> Result<Arc<dyn Disk>, DiskError> {
    let base = RawDisk::open(path, RawOptions { read_only: true, ..RawOptions::default() })?;
    Ok(Arc::new(CowDisk::open(&base, overlay_file(path)?, engine)?))
}

/// A scratch file for what is written to the disk at `path`.
fn overlay_file(path: &Path) -> Result<File, DiskError> {
    scratch::file().map_err(|source| DiskError::Io {
        doing: "make an overlay of",
        path: path.to_owned(),
        source,
    })
}

fn container_disk(
    (store, cache): (&Store, &Path),
    name: &str,
    image: &str,
    path: Option<&str>,
    engine: EngineKind,
) -> Result<Arc<dyn Disk>, OpenError> {
    let fail = |source| OpenError::Disk { name: name.to_owned(), source };
    let what = format!("disk {name}: image {image}");
    let reference = reference(&what, image)?;
    let path = store.container_disk(&reference, path).map_err(|source| OpenError::Image { what, source })?;
    let copy =
        copy_of(cache, &path).map_err(|source| OpenError::Host { what: format!("disk {name}"), source })?;
    let path = ops::unpacked(&path, &copy).map_err(fail)?;
    over_raw(&path, engine).map_err(fail)
}

/// Where the raw copy of a qcow2 image is kept: under a name that changes with the image.
fn copy_of(cache: &Path, image: &Path) -> io::Result<PathBuf> {
    let folder = cache.join(UNPACKED);
    if let Some(content) = content_of(cache, image) {
        return Ok(folder.join(format!("{}.raw", content.replace('/', "-"))));
    }
    let file = fs::metadata(image)?;
    let changed = format!("{:x}.{:x}", file.mtime(), file.mtime_nsec());
    let name = format!("{:x}-{:x}-{:x}-{changed}.raw", file.dev(), file.ino(), file.size());
    Ok(folder.join(name))
}

/// Folder of the cache for raw copies of images.
const UNPACKED: &str = "unpacked";
/// Digits of a digest.
const DIGEST: usize = 64;

/// By what a disk of the cache is told from all others, on any host: the digest of the image that it was taken out of, which was checked
/// then, and its name there. Nothing if it is no such disk.
pub(super) fn content_of(cache: &Path, file: &Path) -> Option<String> {
    let path = file.strip_prefix(cache).ok()?.to_str()?;
    let path = match path.strip_prefix(UNPACKED) {
        Some(copy) => copy.strip_prefix('/')?.strip_suffix(".raw")?,
        None => path,
    };
    let (digest, name) = path.split_at_checked(DIGEST)?;
    let name = name.strip_prefix(['/', '-'])?;
    let is_digest = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_digest && !name.is_empty() && !name.contains('/')).then(|| format!("{digest}/{name}"))
}

fn iso(name: &str, label: &str, files: &[IsoFile]) -> Result<Arc<dyn Disk>, OpenError> {
    let files: Vec<_> = files.iter().map(IsoFile::for_image).collect();
    let bytes = image::iso9660::image(label, &files)
        .map_err(|source| OpenError::Iso { name: name.to_owned(), source })?;
    let file = memory_file(c"kubevmm-iso")
        .and_then(|mut file| file.write_all(&bytes).map(|()| file))
        .map_err(|source| OpenError::Host { what: format!("disk {name}"), source })?;
    let disk = from_file(file, name, true, EngineKind::Auto);
    disk.map_err(|source| OpenError::Disk { name: name.to_owned(), source })
}

/// The largest image of files that another process may send.
const MOST_FILES: u64 = 256 << 20;

/// An ISO image of so many bytes that is yet to come: as a disk to be written, and as one to be read.
pub(super) fn incoming_iso(name: &str, bytes: u64) -> Result<FilesDisk, OpenError> {
    let fail = |source| OpenError::Host { what: format!("disk {name}"), source };
    if bytes > MOST_FILES {
        return Err(fail(io::Error::new(io::ErrorKind::FileTooLarge, "its image is too large")));
    }
    let file = memory_file(c"kubevmm-iso").map_err(fail)?;
    file.set_len(bytes).map_err(fail)?;
    let same = file.try_clone().map_err(fail)?;
    let open = |file, read_only| {
        let disk = from_file(file, name, read_only, EngineKind::Auto);
        disk.map_err(|source| OpenError::Disk { name: name.to_owned(), source })
    };
    Ok((open(same, false)?, open(file, true)?))
}

fn from_file(
    file: File,
    name: &str,
    read_only: bool,
    engine: EngineKind,
) -> Result<Arc<dyn Disk>, DiskError> {
    let options =
        RawOptions { read_only, shareable: true, lock_later: false, cache: CacheMode::Writeback, engine };
    let label = PathBuf::from(format!("({name})"));
    Ok(Arc::new(RawDisk::from_file(file, &label, options)?))
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
