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

use super::{OpenError, new_image, reference, scratch};
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
        lock_later,
        ..OpenOptions::default()
    };
    ops::open(path, format, &options)
}

/// Storage that is only read, under a scratch overlay without a name.
fn ephemeral(storage: &Storage, engine: EngineKind) -> Result<Arc<dyn Disk>, DiskError> {
    let (path, format) = place(storage);
    match format {
        Format::Raw => over_raw(path, engine),
        Format::Qcow2 => {
            let size = {
                let options = QcowOptions { read_only: true, ..QcowOptions::default() };
                QcowDisk::open(path, &options)?.info().size_bytes
            };
            let backing = Backing::Qcow2(path.to_owned());
            let create = CreateOptions {
                backing: Some((path.display().to_string(), Format::Qcow2)),
                overwrite: true,
                ..CreateOptions::new(Format::Qcow2, size)
            };
            let file = overlay_file(path)?;
            let overlay = scratch::name_of(&file);
            ops::create(&overlay, &create)?;
            let options = QcowOptions { backing: vec![backing], engine, ..QcowOptions::default() };
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
    let file = fs::metadata(image)?;
    let changed = format!("{:x}.{:x}", file.mtime(), file.mtime_nsec());
    let name = format!("{:x}-{:x}-{:x}-{changed}.raw", file.dev(), file.ino(), file.size());
    Ok(cache.join("unpacked").join(name))
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
