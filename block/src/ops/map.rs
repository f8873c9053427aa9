//! Where an image has its data.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::{Opened, failed};
use crate::disk::DiskError;
use crate::raw::RawDisk;
use crate::sys;
use crate::target::Kind;

/// A stretch of a disk that is all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// What it is.
    pub kind: ExtentKind,
}

/// What a stretch of a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// Reads as zeroes, without anybody looking at data.
    Zero {
        /// Which of the chain's files says so: 0 is the image itself.
        depth: usize,
        /// Whether that file says so; else it is the last one, and none has anything there.
        present: bool,
    },
    /// Has data in a file.
    Data {
        /// Which of the chain's files: 0 is the image itself.
        depth: usize,
        /// Where in that file.
        offset: u64,
    },
    /// Has compressed data.
    Compressed {
        /// Which of the chain's files.
        depth: usize,
    },
}

/// Finds what a disk has where, from its start to its end.
///
/// # Errors
/// When tables cannot be read, or are corrupt.
pub fn map(path: &std::path::Path, disk: &Opened) -> Result<Vec<Extent>, DiskError> {
    let size = disk.disk().info().size_bytes;
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = 0;
    while at < size {
        let (kind, length) = at_place(disk, at, size - at).map_err(failed("map", path))?;
        match extents.last_mut() {
            Some(last) if follows(last, kind) => last.length += length,
            _ => extents.push(Extent { start: at, length, kind }),
        }
        at += length.max(1);
    }
    Ok(extents)
}

fn follows(last: &Extent, next: ExtentKind) -> bool {
    match (last.kind, next) {
        (ExtentKind::Data { depth, offset }, ExtentKind::Data { depth: next_depth, offset: next_offset }) => {
            depth == next_depth && offset + last.length == next_offset
        }
        (last, next) => last == next,
    }
}

fn at_place(disk: &Opened, at: u64, max: u64) -> io::Result<(ExtentKind, u64)> {
    match disk {
        Opened::Qcow2(disk) => disk.extent(at, max),
        Opened::Raw(disk) => raw_extent(disk, at, max),
    }
}

/// A hole of a raw file, which is as good as written zeroes.
const HOLE: ExtentKind = ExtentKind::Zero { depth: 0, present: true };

/// The pieces of a file of `size` bytes that are not holes, in order; all of it where the file system does not know. Moves
/// the file's position.
///
/// # Errors
/// The file system tells where data begin and then not where they end.
pub fn data_pieces(file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
    let (mut pieces, mut at) = (Vec::new(), 0);
    while at < size {
        let Ok(data) = sys::seek(file, at, libc::SEEK_DATA) else {
            pieces.push(at..size);
            break;
        };
        let Some(start) = data.filter(|start| *start < size) else { break };
        let end = sys::seek(file, start, libc::SEEK_HOLE)?.unwrap_or(size).clamp(start + 1, size);
        pieces.push(start..end);
        at = end;
    }
    Ok(pieces)
}

/// What a raw disk has at a place, and for how many bytes, at most `max`.
pub(crate) fn raw_extent(disk: &RawDisk, at: u64, max: u64) -> io::Result<(ExtentKind, u64)> {
    let target = disk.target();
    let all_data = Ok((ExtentKind::Data { depth: 0, offset: at }, max));
    if target.kind == Kind::Device {
        return all_data;
    }
    match sys::seek(&target.file, at, libc::SEEK_DATA) {
        Ok(None) => Ok((HOLE, max)),
        Ok(Some(data)) if data > at => Ok((HOLE, max.min(data - at))),
        Ok(Some(_)) => {
            let hole = sys::seek(&target.file, at, libc::SEEK_HOLE)?.unwrap_or(u64::MAX);
            Ok((ExtentKind::Data { depth: 0, offset: at }, max.min(hole.saturating_sub(at)).max(1)))
        }
        // A file system that does not know.
        Err(_) => all_data,
    }
}
