//! Opening the disks of a plan.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use block::{CacheMode, CowDisk, Disk, DiskError, EngineKind, RawDisk, RawOptions};
use image::Store;

use super::{OpenError, reference};
use crate::plan::{Cache, DiskPlan, DiskSource, IsoFile};
use crate::sys::memory::memory_file;

/// Directories for scratch files, best first; without any they are in memory.
const SCRATCH: [&str; 2] = ["/var/tmp", "/tmp"];

/// Opens the disk called `name`; what is taken out of images is kept in `cache`.
pub(super) fn open(
    store: &Store,
    cache: &Path,
    name: &str,
    plan: &DiskPlan,
) -> Result<Arc<dyn Disk>, OpenError> {
    let fail = |source| OpenError::Disk { name: name.to_owned(), source };
    match &plan.source {
        DiskSource::File(path) => raw(path, plan).map_err(fail),
        DiskSource::FileOrNew { path, capacity } => {
            make_image(path, *capacity).map_err(|source| OpenError::File {
                what: format!("disk {name}"),
                path: path.clone(),
                source,
            })?;
            raw(path, plan).map_err(fail)
        }
        DiskSource::Empty(bytes) => {
            let file = scratch_file()
                .and_then(|file| file.set_len(*bytes).map(|()| file))
                .map_err(|source| OpenError::Host { what: format!("disk {name}"), source })?;
            from_file(file, name, false).map_err(fail)
        }
        DiskSource::ContainerDisk { image, path } => {
            container_disk((store, cache), name, image, path.as_deref())
        }
        DiskSource::Iso { label, files } => iso(name, label, files),
    }
}

fn raw(path: &Path, plan: &DiskPlan) -> Result<Arc<dyn Disk>, DiskError> {
    let open = |cache| {
        let options = RawOptions {
            read_only: plan.read_only,
            cache,
            shareable: plan.shareable,
            engine: EngineKind::Auto,
        };
        RawDisk::open(path, options).map(|disk| Arc::new(disk) as Arc<dyn Disk>)
    };
    match plan.cache {
        Cache::None => open(CacheMode::None),
        Cache::Writethrough => open(CacheMode::Writethrough),
        Cache::Writeback => open(CacheMode::Writeback),
        Cache::Auto => match open(CacheMode::None) {
            Err(DiskError::NoDirect { .. }) => open(CacheMode::Writethrough),
            result => result,
        },
    }
}

fn make_image(path: &Path, capacity: u64) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.set_len(capacity),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn container_disk(
    (store, cache): (&Store, &Path),
    name: &str,
    image: &str,
    path: Option<&str>,
) -> Result<Arc<dyn Disk>, OpenError> {
    let fail = |source| OpenError::Disk { name: name.to_owned(), source };
    let what = format!("disk {name}: image {image}");
    let reference = reference(&what, image)?;
    let path = store.container_disk(&reference, path).map_err(|source| OpenError::Image { what, source })?;
    let copy =
        copy_of(cache, &path).map_err(|source| OpenError::Host { what: format!("disk {name}"), source })?;
    let path = block::ops::unpacked(&path, &copy).map_err(fail)?;
    let base = RawDisk::open(&path, RawOptions { read_only: true, ..RawOptions::default() }).map_err(fail)?;
    let scratch = SCRATCH.map(Path::new).into_iter().find(|directory| directory.is_dir());
    let disk = CowDisk::open(&base, scratch, EngineKind::Auto).map_err(fail)?;
    Ok(Arc::new(disk))
}

/// Where the raw copy of a qcow2 image is kept: under a name that changes with the image.
fn copy_of(cache: &Path, image: &Path) -> io::Result<PathBuf> {
    let file = fs::metadata(image)?;
    let name = format!("{:x}-{:x}-{:x}-{:x}.raw", file.dev(), file.ino(), file.size(), file.mtime());
    Ok(cache.join("unpacked").join(name))
}

fn iso(name: &str, label: &str, files: &[IsoFile]) -> Result<Arc<dyn Disk>, OpenError> {
    let files: Vec<_> =
        files.iter().map(|file| image::iso9660::IsoFile { path: &file.name, contents: &file.data }).collect();
    let bytes = image::iso9660::image(label, &files)
        .map_err(|source| OpenError::Iso { name: name.to_owned(), source })?;
    let file = memory_file(c"kubevmm-iso")
        .and_then(|mut file| file.write_all(&bytes).map(|()| file))
        .map_err(|source| OpenError::Host { what: format!("disk {name}"), source })?;
    from_file(file, name, true).map_err(|source| OpenError::Disk { name: name.to_owned(), source })
}

fn from_file(file: File, name: &str, read_only: bool) -> Result<Arc<dyn Disk>, DiskError> {
    let options =
        RawOptions { read_only, shareable: true, cache: CacheMode::Writeback, engine: EngineKind::Auto };
    let label = PathBuf::from(format!("({name})"));
    Ok(Arc::new(RawDisk::from_file(file, &label, options)?))
}

/// A file without a name, gone when it is closed.
fn scratch_file() -> io::Result<File> {
    let unnamed = |directory: &&str| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory).ok()
    };
    match SCRATCH.iter().find_map(unnamed) {
        Some(file) => Ok(file),
        None => memory_file(c"kubevmm-scratch"),
    }
}
