//! Disks of a snapshot.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use block::ops::data_runs;
use block::{Blocking, Disk};

use super::SnapshotError;
use super::directory::NewSnapshot;
use super::layers::layers;
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
    disk: &dyn Disk,
    copies_all: bool,
) -> Result<Option<DiskRecord>, SnapshotError> {
    let DevicePlan::Disk(plan) = &function.device else { return Ok(None) };
    let (name, bytes) = (function.name.clone(), disk.info().size_bytes);
    let fail = |why: String| SnapshotError::Disk { name: name.clone(), why };
    let (contents, layers) = match &plan.source {
        DiskSource::Storage(storage) if !copies_all => {
            disk.sync().map_err(|error| fail(devices::chain(&error)))?;
            // A file that is not found under its name any more tells nothing: restoring takes one that is named then.
            let layers = layers(storage).unwrap_or_default();
            (KeptDisk::InPlace { modified: layers.first().map(|image| image.modified) }, layers)
        }
        _ => {
            let file = format!("disk-{name}.raw");
            let crc = copy(snapshot, &file, disk).map_err(|error| fail(devices::chain(&error)))?;
            snapshot.note(&file, bytes, Some(crc));
            (KeptDisk::Copied { file }, Vec::new())
        }
    };
    Ok(Some(DiskRecord { name, bytes, contents, layers }))
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

/// Writes what is not zero into a file that is zero yet.
pub(super) fn write_sparse(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    data_runs(bytes, HOLE).try_for_each(|run| {
        let start = at + run.start as u64;
        file.write_all_at(bytes.get(run).unwrap_or_default(), start)
    })
}

pub(super) fn path_of(storage: &Storage) -> &Path {
    match storage {
        Storage::Raw(path)
        | Storage::Qcow2(path)
        | Storage::Device(path)
        | Storage::RawOrNew { path, .. } => path,
    }
}
