//! What an image says of itself, and whether it is right.

use std::path::Path;
use std::sync::Arc;

use super::check::{CheckReport, check};
use super::core::Core;
use super::header::{CORRUPT, Compression, DIRTY, Header, LAZY_REFCOUNTS, MAX_HEADER};
use super::open::{open_error, zero_padded};
use super::repair::{Repair, repair};
use crate::disk::DiskError;
use crate::raw::RawDisk;
use crate::storage::Storage;

/// What is particular to a qcow2 image. Fields are named as in `qemu-img info --output=json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QcowSummary {
    /// The disk's size in bytes.
    pub virtual_size: u64,
    /// Bytes in a cluster.
    pub cluster_size: u32,
    /// `0.10` for version 2, `1.1` for version 3.
    pub compat: &'static str,
    /// How clusters are compressed, where they are.
    pub compression_type: Compression,
    /// Whether it has subclusters.
    pub extended_l2: bool,
    /// Bits of a refcount.
    pub refcount_bits: u32,
    /// Whether refcounts may be written late.
    pub lazy_refcounts: bool,
    /// Whether it is marked as corrupt.
    pub corrupt: bool,
    /// Whether it was not closed.
    pub dirty_flag: bool,
    /// Internal snapshots in it.
    pub snapshots: u32,
    /// Whether it has dirty bitmaps.
    pub bitmaps: bool,
    /// The name that it has for its backing file.
    pub backing_filename: Option<String>,
    /// The format that it says its backing file has.
    pub backing_filename_format: Option<String>,
}

/// Looks at the header of an open image.
pub(crate) fn summary(file: &RawDisk, path: &Path) -> Result<QcowSummary, DiskError> {
    let storage = zero_padded(file)?;
    let header = read_header(&*storage).map_err(|error| open_error(path, error))?;
    Ok(QcowSummary {
        virtual_size: header.size,
        cluster_size: 1 << header.cluster_bits,
        compat: if header.version == 2 { "0.10" } else { "1.1" },
        compression_type: header.compression,
        extended_l2: header.is_extended(),
        refcount_bits: 1 << header.refcount_order,
        lazy_refcounts: header.compatible & LAZY_REFCOUNTS != 0,
        corrupt: header.incompatible & CORRUPT != 0,
        dirty_flag: header.incompatible & DIRTY != 0,
        snapshots: header.snapshots,
        bitmaps: header.has_bitmaps,
        backing_filename: header.backing,
        backing_filename_format: header.backing_format,
    })
}

fn read_header(storage: &dyn Storage) -> std::io::Result<Header> {
    let len = storage.len()?;
    let mut start = vec![0; MAX_HEADER.min(usize::try_from(len).unwrap_or(MAX_HEADER))];
    storage.read_bytes(0, &mut start)?;
    Ok(Header::parse(&start, len)?)
}

/// Checks an open image.
pub(crate) fn check_file(file: &RawDisk, path: &Path) -> Result<CheckReport, DiskError> {
    let storage = zero_padded(file)? as Arc<dyn Storage>;
    Core::open(storage).and_then(|core| check(&core)).map_err(|error| open_error(path, error))
}

/// Repairs an open image; returns what was wrong before, and what still is.
pub(crate) fn repair_file(
    file: &RawDisk,
    path: &Path,
    what: Repair,
) -> Result<(CheckReport, CheckReport), DiskError> {
    let before = check_file(file, path)?;
    let storage = zero_padded(file)? as Arc<dyn Storage>;
    let repaired = Core::open(storage).and_then(|core| repair(&core, what));
    repaired.map_err(|error| open_error(path, error))?;
    Ok((before, check_file(file, path)?))
}
