//! New images.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::{Format, failed, is_zero};
use crate::disk::DiskError;
use crate::qcow2::{Compression, NewImage};
use crate::sys;

/// How much of a new image's space is taken at once, as `qemu-img create -o preallocation=…`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preallocation {
    /// None: the image grows as it is written.
    #[default]
    Off,
    /// The host reserves the space (raw images).
    Falloc,
    /// Zeroes are written (raw images).
    Full,
}

/// What a new image shall be.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Its format.
    pub format: Format,
    /// Its disk's size in bytes: a multiple of 512.
    pub size: u64,
    /// Space taken at once; for qcow2 only [`Preallocation::Off`].
    pub preallocation: Preallocation,
    /// Bytes in a qcow2 cluster: a power of two from 512 to 2 MiB.
    pub cluster_size: u32,
    /// How a qcow2 image's clusters are compressed, if any ever are.
    pub compression: Compression,
    /// Whether a qcow2 image has subclusters.
    pub extended_l2: bool,
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
        Format::Raw => None,
        Format::Qcow2 if options.preallocation != Preallocation::Off => {
            return Err(geometry("preallocation is supported for raw images only"));
        }
        Format::Qcow2 => Some(layout(options).map_err(geometry)?),
    };
    let mut how = OpenOptions::new();
    how.read(true).write(true).mode(0o644).create(true).create_new(!options.overwrite);
    let file = how.open(path).map_err(|source| DiskError::Open { path: path.to_owned(), source })?;
    crate::lock::lock(&file, path, false)?;
    file.set_len(0).map_err(failed("empty", path))?;
    match qcow2 {
        Some(start) => write_sparse(&file, &start).map_err(failed("write", path)),
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
        backing: options.backing.as_ref().map(|(name, format)| (name.clone(), format.to_string())),
    };
    image.bytes()
}

fn fill(file: &File, options: &CreateOptions) -> io::Result<()> {
    file.set_len(options.size)?;
    match options.preallocation {
        Preallocation::Off => Ok(()),
        Preallocation::Falloc => sys::fallocate(file, 0, 0, options.size),
        Preallocation::Full => {
            let zeroes = vec![0; 1 << 20];
            let mut done = 0;
            while done < options.size {
                let len = usize::try_from(options.size - done).unwrap_or(usize::MAX).min(zeroes.len());
                file.write_all_at(zeroes.get(..len).unwrap_or_default(), done)?;
                done += len as u64;
            }
            Ok(())
        }
    }
}
