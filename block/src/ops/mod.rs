//! What `kubevmm image` does, as functions: for files that no VM uses at the time.

mod bench;
mod compare;
mod convert;
mod create;
mod info;
mod map;
mod resize;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_space;
mod unpack;

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

pub use bench::{BenchOptions, bench};
pub use compare::{Comparison, compare, compare_with};
pub use convert::{ConvertOptions, convert};
pub use create::{CreateOptions, Preallocation, create};
pub use info::{ImageInfo, check, check_with, info, repair};
pub(crate) use map::raw_extent;
pub use map::{Extent, ExtentKind, data_pieces, map};
pub use resize::resize;
pub use unpack::unpacked;

use crate::disk::{Disk, DiskError};
use crate::engine::EngineKind;
use crate::qcow2::{Backing, QcowDisk, QcowError, QcowOptions};
use crate::raw::{CacheMode, RawDisk, RawOptions};

/// A format of disk images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The bytes of the disk.
    Raw,
    /// QEMU's format.
    Qcow2,
}

/// A format by that name is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("image format {0:?} is not known; raw and qcow2 are")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Format, UnknownFormat> {
        match name {
            "raw" => Ok(Format::Raw),
            "qcow2" => Ok(Format::Qcow2),
            _ => Err(UnknownFormat(name.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        })
    }
}

impl Format {
    /// Tells the format of a file by its first bytes. Only for files that no guest has ever been
    /// able to write: the answer is to be kept, and never asked for again.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn detect(path: &Path) -> Result<Format, DiskError> {
        let mut magic = Vec::new();
        let file =
            std::fs::File::open(path).map_err(|source| DiskError::Open { path: path.to_owned(), source })?;
        file.take(4).read_to_end(&mut magic).map_err(|source| DiskError::Io {
            doing: "read the first bytes of",
            path: path.to_owned(),
            source,
        })?;
        Ok(if magic == b"QFI\xfb" { Format::Qcow2 } else { Format::Raw })
    }
}

/// How to open an image.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Open it for reading only.
    pub read_only: bool,
    /// Host caching.
    pub cache: CacheMode,
    /// Which engine carries out the I/O.
    pub engine: EngineKind,
    /// Take no lock: others may write the image meanwhile (`qemu-img -U`).
    pub shareable: bool,
    /// Take the lock only when told to ([`Disk::hold`]).
    pub lock_later: bool,
    /// The backing files of a qcow2 image, the nearest first.
    pub backing: Vec<Backing>,
}

/// An image that is open.
#[derive(Debug)]
pub enum Opened {
    /// A raw one.
    Raw(RawDisk),
    /// A qcow2 one.
    Qcow2(Box<QcowDisk>),
}

impl Opened {
    /// As any disk.
    pub fn disk(&self) -> &dyn Disk {
        match self {
            Opened::Raw(disk) => disk,
            Opened::Qcow2(disk) => &**disk,
        }
    }

    /// As any disk, for keeps.
    pub fn into_disk(self) -> Box<dyn Disk> {
        match self {
            Opened::Raw(disk) => Box::new(disk),
            Opened::Qcow2(disk) => disk,
        }
    }
}

/// Opens an image of a known format.
///
/// # Errors
/// As [`RawDisk::open`] and [`QcowDisk::open`].
pub fn open(path: &Path, format: Format, options: &OpenOptions) -> Result<Opened, DiskError> {
    let OpenOptions { read_only, cache, engine, shareable, lock_later, backing } = options;
    match format {
        Format::Raw if !backing.is_empty() => {
            Err(DiskError::Format { path: path.to_owned(), source: QcowError::NoBacking })
        }
        Format::Raw => {
            let options = RawOptions {
                read_only: *read_only,
                cache: *cache,
                shareable: *shareable,
                lock_later: *lock_later,
                engine: *engine,
            };
            RawDisk::open(path, options).map(Opened::Raw)
        }
        Format::Qcow2 => {
            let options = QcowOptions {
                read_only: *read_only,
                cache: *cache,
                engine: *engine,
                shareable: *shareable,
                lock_later: *lock_later,
                backing: backing.clone(),
            };
            QcowDisk::open(path, &options).map(|disk| Opened::Qcow2(Box::new(disk)))
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError + use<> {
    let path = path.to_owned();
    move |source| DiskError::Io { doing, path, source }
}

/// The parts of `bytes` that are not all zero, in pieces of `granule` bytes, those that follow each other as one.
pub fn data_runs(bytes: &[u8], granule: usize) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..)?;
        let length = |zero: bool, rest: &[u8]| -> usize {
            let pieces = rest.chunks(granule.max(1));
            pieces.take_while(|piece| is_zero(piece) == zero).map(<[u8]>::len).sum()
        };
        let start = length(true, rest);
        let run = at + start..at + start + length(false, rest.get(start..)?);
        at = run.end;
        (!run.is_empty()).then_some(run)
    })
}

/// Whether all bytes are zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    // Sixteen bytes at a time, which the compiler turns into the widest instructions there are.
    let (chunks, rest) = bytes.as_chunks::<16>();
    chunks.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0) && rest.iter().all(|&byte| byte == 0)
}
