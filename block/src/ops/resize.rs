//! Larger and smaller disks.

use std::path::Path;

use super::{Format, failed};
use crate::disk::{Disk, DiskError};
use crate::qcow2;
use crate::raw::{RawDisk, RawOptions};
use crate::target::Kind;

/// Changes the size of an image that nobody uses at the time. `shrink` allows losing what lies
/// beyond the new size.
///
/// # Errors
/// When the image is in use, is not a file, or cannot be made this large or small.
pub fn resize(path: &Path, format: Format, size: u64, shrink: bool) -> Result<(), DiskError> {
    let geometry = |reason| DiskError::Geometry { path: path.to_owned(), reason };
    if size == 0 || !size.is_multiple_of(512) || i64::try_from(size).is_err() {
        return Err(geometry("its size must be a multiple of 512 bytes, and neither zero nor beyond 8 EiB"));
    }
    let file = RawDisk::open(path, RawOptions::default())?;
    if file.target().kind != Kind::Regular {
        return Err(geometry("a block device has the size that it has"));
    }
    let now = match format {
        Format::Raw => file.info().size_bytes,
        Format::Qcow2 => qcow2::summary(&file, path)?.virtual_size,
    };
    if size < now && !shrink {
        let reason = "it would lose what lies beyond its new size; that has to be asked for (--shrink)";
        return Err(geometry(reason));
    }
    match format {
        Format::Raw => file.target().file.set_len(size).map_err(failed("resize", path)),
        Format::Qcow2 => qcow2::resize_file(&file, path, size),
    }
}
