//! What an image says of itself.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Format, failed};
use crate::disk::DiskError;
use crate::qcow2::{self, CheckReport, QcowSummary, Repair};
use crate::raw::{RawDisk, RawOptions};

/// What an image says of itself. No other file is opened to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its format.
    pub format: Format,
    /// Its disk's size in bytes.
    pub virtual_size: u64,
    /// What it takes up on the host, in bytes.
    pub actual_size: u64,
    /// What is particular to a qcow2 image.
    pub qcow2: Option<QcowSummary>,
}

/// Looks at an image, in use or not.
///
/// # Errors
/// When it cannot be opened, or not be understood.
pub fn info(path: &Path, format: Format) -> Result<ImageInfo, DiskError> {
    let options = RawOptions { read_only: true, shareable: true, ..RawOptions::default() };
    let file = RawDisk::open(path, options)?;
    let meta = file.target().file.metadata().map_err(failed("look at", path))?;
    let (virtual_size, qcow2) = match format {
        Format::Raw => (crate::Disk::info(&file).size_bytes, None),
        Format::Qcow2 => {
            let summary = qcow2::summary(&file, path)?;
            (summary.virtual_size, Some(summary))
        }
    };
    Ok(ImageInfo { format, virtual_size, actual_size: meta.blocks().saturating_mul(512), qcow2 })
}

/// Checks a qcow2 image that nobody writes at the time.
///
/// # Errors
/// When it cannot be opened, or is damaged beyond checking.
pub fn check(path: &Path) -> Result<CheckReport, DiskError> {
    check_with(path, false)
}

/// Checks a qcow2 image; `shared` if others may write it meanwhile, who may make it look worse than it is.
///
/// # Errors
/// As [`check`].
pub fn check_with(path: &Path, shared: bool) -> Result<CheckReport, DiskError> {
    let options = RawOptions { read_only: true, shareable: shared, ..RawOptions::default() };
    let file = RawDisk::open(path, options)?;
    qcow2::check_file(&file, path)
}

/// Repairs a qcow2 image that nobody uses at the time; returns what was wrong before, and what still is.
///
/// # Errors
/// When it cannot be opened for writing, or is damaged beyond repair.
pub fn repair(path: &Path, what: Repair) -> Result<(CheckReport, CheckReport), DiskError> {
    let file = RawDisk::open(path, RawOptions::default())?;
    qcow2::repair_file(&file, path, what)
}
