//! Whether two images hold the same.

use super::{Opened, failed};
use crate::blocking::Blocking;
use crate::disk::DiskError;
use std::io;
use std::path::Path;

/// Bytes compared at a time.
const PIECE: u64 = 1 << 20;

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same, up to zeroes at the end of the larger one.
    Identical {
        /// Whether one disk is larger.
        sizes_differ: bool,
    },
    /// Different, first in this sector.
    Different {
        /// The sector's first byte.
        offset: u64,
    },
}

/// Compares two disks; a shorter one counts as followed by zeroes.
///
/// # Errors
/// When one cannot be read.
pub fn compare(a: (&Path, &Opened), b: (&Path, &Opened)) -> Result<Comparison, DiskError> {
    compare_with(a, b, &|_| {})
}

/// As [`compare`]; `progress` is told how much of it is done, from 0 to 1.
///
/// # Errors
/// As [`compare`].
pub fn compare_with(
    a: (&Path, &Opened),
    b: (&Path, &Opened),
    progress: &dyn Fn(f64),
) -> Result<Comparison, DiskError> {
    let sizes = [a, b].map(|(_, disk)| disk.disk().info().size_bytes);
    let [mut first, mut second] = [Side::open(a, sizes[0])?, Side::open(b, sizes[1])?];
    let end = sizes[0].max(sizes[1]);
    let mut at = 0;
    while at < end {
        let len = (end - at).min(PIECE);
        let (left, right) = (first.read(at, len)?, second.read(at, len)?);
        if left != right {
            let same = left.iter().zip(right).take_while(|(left, right)| left == right).count() as u64;
            return Ok(Comparison::Different { offset: (at + same) / 512 * 512 });
        }
        at += len;
        #[expect(clippy::cast_precision_loss, reason = "it is for a progress bar")]
        progress(at as f64 / end as f64);
    }
    Ok(Comparison::Identical { sizes_differ: sizes[0] != sizes[1] })
}

struct Side<'a> {
    path: &'a Path,
    io: Blocking,
    size: u64,
    bytes: Vec<u8>,
}

impl Side<'_> {
    fn open<'a>((path, disk): (&'a Path, &Opened), size: u64) -> Result<Side<'a>, DiskError> {
        Ok(Side { path, io: Blocking::open(disk.disk())?, size, bytes: Vec::new() })
    }

    fn read(&mut self, at: u64, len: u64) -> Result<&[u8], DiskError> {
        let too_large = |_| failed("read", self.path)(io::ErrorKind::OutOfMemory.into());
        self.bytes.clear();
        self.bytes.resize(usize::try_from(len).map_err(too_large)?, 0);
        let there = usize::try_from(self.size.saturating_sub(at).min(len)).unwrap_or(0);
        if let Some(bytes) = self.bytes.get_mut(..there).filter(|bytes| !bytes.is_empty()) {
            self.io.read(at, bytes).map_err(failed("read", self.path))?;
        }
        Ok(&self.bytes)
    }
}
