//! The files that make up the contents of a disk that stays where it is: its image, and all that lies below that.
//!
//! An image that is as it was says nothing of those below it, which anybody can write to. So each of them is written down with its
//! length and the time of its last change. Numbers of files are not: a folder that was put back with its times has the same contents.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use block::DiskError;
use block::qcow2::Backing;

use super::SnapshotError;
use super::disks::path_of;
use super::manifest::{DiskRecord, KeptDisk, Layer};
use crate::open::layers::below;
use crate::plan::Storage;

/// The files that `storage` is made of as they are now, the image itself first. Devices do not tell whether they have changed.
pub(super) fn layers(storage: &Storage) -> Result<Vec<Layer>, DiskError> {
    let path = path_of(storage);
    let bases = if matches!(storage, Storage::Qcow2(_)) { below(path)? } else { Vec::new() };
    let bases = bases.iter().map(|base| match base {
        Backing::Raw(path) | Backing::Qcow2(path) => path.as_path(),
    });
    let all = std::iter::once(path).chain(bases).map(|file| {
        let failed = |source| DiskError::Io { doing: "look at", path: file.to_owned(), source };
        layer(file).map_err(failed)
    });
    all.filter_map(Result::transpose).collect()
}

fn layer(path: &Path) -> io::Result<Option<Layer>> {
    let file = std::path::absolute(path)?;
    let found = path.metadata()?;
    Ok(modified(&found).map(|modified| Layer { file, bytes: found.len(), modified }))
}

/// When a file was last written to; devices do not tell.
fn modified(file: &Metadata) -> Option<i64> {
    file.is_file().then(|| block::modified(file))
}

/// What a record says of a file.
struct Known {
    file: PathBuf,
    /// Former programs did not write it down.
    bytes: Option<u64>,
    modified: i64,
}

/// Whether the files of a disk that stayed where it was, which is `storage`, are as they were.
pub(super) fn check_in_place(record: &DiskRecord, storage: &Storage) -> Result<(), SnapshotError> {
    known(record, storage).iter().try_for_each(|known| check(&record.name, known))
}

/// Whether the images that a snapshot has left below overlays are as they were. Disks on which their machine went on are no part of it.
pub(super) fn check_below(record: &DiskRecord) -> Result<(), SnapshotError> {
    match &record.contents {
        KeptDisk::Below { file, .. } => check_in_place(record, file),
        KeptDisk::InPlace { .. } | KeptDisk::Copied { .. } => Ok(()),
    }
}

fn known(record: &DiskRecord, storage: &Storage) -> Vec<Known> {
    let of_layer = |layer: &Layer| Known {
        file: layer.file.clone(),
        bytes: Some(layer.bytes),
        modified: layer.modified,
    };
    if !record.layers.is_empty() {
        return record.layers.iter().map(of_layer).collect();
    }
    match record.contents {
        KeptDisk::InPlace { modified: Some(modified) } | KeptDisk::Below { modified: Some(modified), .. } => {
            vec![Known { file: path_of(storage).to_owned(), bytes: None, modified }]
        }
        _ => Vec::new(),
    }
}

fn check(name: &str, known: &Known) -> Result<(), SnapshotError> {
    let path = known.file.display();
    let why = match known.file.metadata() {
        Ok(now)
            if modified(&now) == Some(known.modified)
                && known.bytes.is_none_or(|bytes| bytes == now.len()) =>
        {
            return Ok(());
        }
        Ok(_) => format!(
            "{path} was written to since the snapshot was taken, and the guest would not find what it knows: restore \
             with --disk {name}=FILE and a copy from that time, or with --changed-disks if you know better"
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            format!("{path} does not exist: say where the disk is with --disk {name}=FILE")
        }
        Err(error) => format!("{path} cannot be looked at: {error}"),
    };
    Err(SnapshotError::Disk { name: name.to_owned(), why })
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
