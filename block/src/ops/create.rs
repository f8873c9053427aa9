//! New images.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::{Format, failed, is_zero};
use crate::disk::{Disk, DiskError};
use crate::qcow2::{Compression, NewImage, QcowDisk, QcowOptions};
use crate::sys;

/// How much of a new image's space is taken at once, as `qemu-img create -o preallocation=…`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preallocation {
    /// None: the image grows as it is written.
    #[default]
    Off,
    /// Every cluster has its place in the file, which stays sparse (qcow2 images).
    Metadata,
    /// The host reserves the space.
    Falloc,
    /// Zeroes are written.
    Full,
}

/// What a new image shall be.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Its format.
    pub format: Format,
    /// Its disk's size in bytes: a multiple of 512.
    pub size: u64,
    /// Space taken at once.
    pub preallocation: Preallocation,
    /// Bytes in a qcow2 cluster: a power of two from 512 to 2 MiB.
    pub cluster_size: u32,
    /// How a qcow2 image's clusters are compressed, if any ever are.
    pub compression: Compression,
    /// Whether a qcow2 image has subclusters.
    pub extended_l2: bool,
    /// Whether a qcow2 image is to be of version 2 (`compat=0.10`) instead of 3.
    pub old_version: bool,
    /// Bits of a qcow2 image's refcounts: a power of two, 1 to 64.
    pub refcount_bits: u32,
    /// Whether a qcow2 image's refcounts may be written late by those who do that. We do not.
    pub lazy_refcounts: bool,
    /// The name and format that a qcow2 image has for its backing file.
    pub backing: Option<(String, Format)>,
    /// Replace a file that is there.
    pub overwrite: bool,
}

impl CreateOptions {
    /// An image as `qemu-img create` makes it without options.
    pub fn new(format: Format, size: u64) -> CreateOptions {
        CreateOptions {
            format,
            size,
            preallocation: Preallocation::Off,
            cluster_size: 64 << 10,
            compression: Compression::Zlib,
            extended_l2: false,
            old_version: false,
            refcount_bits: 16,
            lazy_refcounts: false,
            backing: None,
            overwrite: false,
        }
    }
}

/// Makes an image.
///
/// # Errors
/// When the options do not go together, the file is there already, or cannot be written.
pub fn create(path: &Path, options: &CreateOptions) -> Result<(), DiskError> {
    let geometry = |reason| DiskError::Geometry { path: path.to_owned(), reason };
    if options.size == 0 || !options.size.is_multiple_of(512) || i64::try_from(options.size).is_err() {
        return Err(geometry("its size must be a multiple of 512 bytes, and neither zero nor beyond 8 EiB"));
    }
    let qcow2 = match options.format {
        Format::Raw if options.backing.is_some() => return Err(geometry("a raw image has no backing file")),
        Format::Raw if options.preallocation == Preallocation::Metadata => {
            return Err(geometry("a raw image has no metadata; use preallocation=falloc"));
        }
        Format::Raw => None,
        Format::Qcow2 if options.preallocation != Preallocation::Off && options.backing.is_some() => {
            return Err(geometry("an image over a backing file cannot be preallocated: it would hide it"));
        }
        Format::Qcow2 => Some(layout(options).map_err(geometry)?),
    };
    let mut how = OpenOptions::new();
    how.read(true).write(true).mode(0o644).create(true).create_new(!options.overwrite);
    let file = how.open(path).map_err(|source| DiskError::Open { path: path.to_owned(), source })?;
    write(path, file, qcow2, options).inspect_err(|_| {
        // What was there before is not this call's to remove. The first error counts.
        if !options.overwrite {
            let _ = std::fs::remove_file(path);
        }
    })
}

/// Makes a file the image that is wanted.
fn write(path: &Path, file: File, qcow2: Option<Vec<u8>>, options: &CreateOptions) -> Result<(), DiskError> {
    crate::lock::lock(&file, path, crate::sys::LockKind::Exclusive)?;
    file.set_len(0).map_err(failed("empty", path))?;
    match qcow2 {
        Some(start) => {
            write_sparse(&file, &start).map_err(failed("write", path))?;
            drop(file);
            preallocate(path, options)
        }
        None => fill(&file, options).map_err(failed("reserve the space of", path)),
    }
}

/// Writes the pieces of a new file that are not zero.
fn write_sparse(file: &File, bytes: &[u8]) -> io::Result<()> {
    const PIECE: usize = 4096;
    file.set_len(bytes.len() as u64)?;
    for (number, piece) in (0u64..).zip(bytes.chunks(PIECE)) {
        if !is_zero(piece) {
            file.write_all_at(piece, number * PIECE as u64)?;
        }
    }
    Ok(())
}

fn layout(options: &CreateOptions) -> Result<Vec<u8>, &'static str> {
    let image = NewImage {
        size: options.size,
        cluster_size: options.cluster_size,
        compression: options.compression,
        extended_l2: options.extended_l2,
        old: options.old_version,
        refcount_bits: options.refcount_bits,
        lazy_refcounts: options.lazy_refcounts,
        backing: options.backing.as_ref().map(|(name, format)| (name.clone(), format.to_string())),
    };
    image.bytes()
}

/// Gives every cluster of a new qcow2 image a place, and the places what was asked for.
fn preallocate(path: &Path, options: &CreateOptions) -> Result<(), DiskError> {
    if options.preallocation == Preallocation::Off {
        return Ok(());
    }
    let disk = QcowDisk::open(path, &QcowOptions::default())?;
    let places = disk.preallocate().map_err(failed("reserve the space of", path))?;
    let file =
        disk.file().ok_or(io::ErrorKind::NotFound).map_err(|kind| failed("open", path)(kind.into()))?;
    let reserve = || {
        let end = places.last().map_or(0, |(at, len)| at + len);
        if file.metadata()?.len() < end {
            file.set_len(end)?;
        }
        places.iter().try_for_each(|&(at, len)| reserve(file, at, len, options.preallocation))
    };
    reserve().map_err(failed("reserve the space of", path))?;
    disk.sync()
}

fn fill(file: &File, options: &CreateOptions) -> io::Result<()> {
    file.set_len(options.size)?;
    reserve(file, 0, options.size, options.preallocation)
}

/// Takes the space of a range.
fn reserve(file: &File, start: u64, len: u64, how: Preallocation) -> io::Result<()> {
    match how {
        Preallocation::Off | Preallocation::Metadata => Ok(()),
        Preallocation::Falloc => sys::fallocate(file, 0, start, len),
        Preallocation::Full => {
            let zeroes = vec![0; 1 << 20];
            let mut done = 0;
            while done < len {
                let piece = usize::try_from(len - done).unwrap_or(usize::MAX).min(zeroes.len());
                file.write_all_at(zeroes.get(..piece).unwrap_or_default(), start + done)?;
                done += piece as u64;
            }
            Ok(())
        }
    }
}
