//! Disks of a snapshot.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use block::ops::is_zero;
use block::{Blocking, Disk};

use super::SnapshotError;
use super::directory::NewSnapshot;
use super::manifest::{DiskRecord, KeptDisk};
use crate::plan::{DevicePlan, DiskSource, Function, Storage};

/// Bytes that are copied in one go.
const STEP: usize = 1 << 20;
/// Zeroes of this length are left out of a copy.
const HOLE: usize = 4096;

/// Keeps a disk, on which nothing is written meanwhile: as a copy, or where it is, with all that was written in its file.
pub(super) fn keep(
    snapshot: &mut NewSnapshot,
    function: &Function,
    disk: &Arc<dyn Disk>,
    copies_all: bool,
) -> Result<Option<DiskRecord>, SnapshotError> {
    let DevicePlan::Disk(plan) = &function.device else { return Ok(None) };
    let (name, bytes) = (function.name.clone(), disk.info().size_bytes);
    let fail = |why: String| SnapshotError::Disk { name: name.clone(), why };
    let contents = match &plan.source {
        DiskSource::Storage(storage) if !copies_all => {
            disk.sync().map_err(|error| fail(devices::chain(&error)))?;
            KeptDisk::InPlace { modified: modified(path_of(storage)) }
        }
        _ => {
            let file = format!("disk-{name}.raw");
            let crc = copy(snapshot, &file, disk.as_ref()).map_err(|error| fail(devices::chain(&error)))?;
            snapshot.note(&file, bytes, Some(crc));
            KeptDisk::Copied { file }
        }
    };
    Ok(Some(DiskRecord { name, bytes, contents }))
}

/// Copies a disk into a raw image, and gives back its checksum.
fn copy(snapshot: &NewSnapshot, name: &str, disk: &dyn Disk) -> Result<u32, SnapshotError> {
    let fail = |source| SnapshotError::File { doing: "written", path: snapshot.place(name), source };
    let file = snapshot.file(name)?;
    let size = disk.info().size_bytes;
    file.set_len(size).map_err(fail)?;
    let mut disk = Blocking::open(disk).map_err(|error| fail(io::Error::other(error)))?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; STEP];
    let mut at = 0;
    while at < size {
        let step = usize::try_from(size - at).unwrap_or(usize::MAX).min(STEP);
        let part = buffer.get_mut(..step).unwrap_or_default();
        disk.read(at, part).map_err(fail)?;
        hasher.update(part);
        write_sparse(&file, part, at).map_err(fail)?;
        at += step as u64;
    }
    file.sync_all().map_err(fail)?;
    Ok(hasher.finalize())
}

fn write_sparse(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    for (number, part) in (0u64..).zip(bytes.chunks(HOLE)) {
        if !is_zero(part) {
            file.write_all_at(part, at + number * HOLE as u64)?;
        }
    }
    Ok(())
}

/// Whether a disk that stayed where it was is as it was.
pub(super) fn check_in_place(
    name: &str,
    source: &DiskSource,
    kept: Option<i64>,
) -> Result<(), SnapshotError> {
    let DiskSource::Storage(storage) = source else { return Ok(()) };
    let path = path_of(storage);
    if kept.is_none() || modified(path) == kept {
        return Ok(());
    }
    let why = if path.exists() {
        format!(
            "{} was written to since the snapshot was taken, and the guest would not find what it knows: restore \
             with --disk {name}=FILE and a copy from that time, or with --changed-disks if you know better",
            path.display()
        )
    } else {
        format!("{} does not exist: say where the disk is with --disk {name}=FILE", path.display())
    };
    Err(SnapshotError::Disk { name: name.to_owned(), why })
}

/// When a file was last written to, in nanoseconds since 1970. Devices do not tell.
fn modified(path: &Path) -> Option<i64> {
    let file = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.mtime().checked_mul(1_000_000_000)?.checked_add(file.mtime_nsec())
}

fn path_of(storage: &Storage) -> &Path {
    match storage {
        Storage::Raw(path)
        | Storage::Qcow2(path)
        | Storage::Device(path)
        | Storage::RawOrNew { path, .. } => path,
    }
}
