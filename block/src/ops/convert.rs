//! Copies of images, in another format perhaps.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{CreateOptions, Extent, ExtentKind, OpenOptions, Opened, create, failed, is_zero, map, open};
use crate::blocking::Blocking;
use crate::disk::DiskError;
use crate::qcow2::Packer;
use crate::raw::CacheMode;

/// Bytes copied at a time: a whole cluster of any size.
const PIECE: u64 = 2 << 20;
/// Zeroes of this length are left out, like those of `qemu-img convert -S 4k`.
const SPARSE: usize = 4096;
/// Threads that copy; more do not help, as one file is written.
const MAX_THREADS: usize = 8;

/// How to copy.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// What the copy shall be; its size is the source's unless that is larger.
    pub create: CreateOptions,
    /// Compress the copy (`-c`); for qcow2.
    pub compress: bool,
    /// The copy is there already, as an image or block device (`-n`): it is written over, and
    /// [`ConvertOptions::create`] says only what format it has.
    pub existing: bool,
    /// Write zeroes, too, so that the copy takes all of its space (`-S 0`).
    pub full: bool,
    /// Host caching of the copy (`-t`).
    pub cache: CacheMode,
}

impl ConvertOptions {
    /// A plain copy, durable when it is done.
    pub fn new(create: CreateOptions) -> ConvertOptions {
        ConvertOptions { create, compress: false, existing: false, full: false, cache: CacheMode::Writeback }
    }
}

/// Copies a disk into a new image; `progress` is told how much of it is done, from 0 to 1.
///
/// # Errors
/// When the source cannot be read, or the copy not be made or written. A copy that is not whole is
/// left behind for whoever wants to look at it.
pub fn convert(
    source: (&Path, &Opened),
    to: &Path,
    options: &ConvertOptions,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<(), DiskError> {
    let extents = map(source.0, source.1)?;
    if !options.existing {
        create(to, &options.create)?;
    }
    // The copy's own name for a backing file is not opened: all of the disk is copied.
    let how = OpenOptions { cache: options.cache, ..OpenOptions::default() };
    let target = open(to, options.create.format, &how)?;
    if target.disk().info().size_bytes < source.1.disk().info().size_bytes {
        return Err(DiskError::Geometry {
            path: to.to_owned(),
            reason: "it is smaller than what is to be copied",
        });
    }
    if options.compress && matches!(target, Opened::Raw(_)) {
        return Err(DiskError::Geometry {
            path: to.to_owned(),
            reason: "only qcow2 images can be compressed",
        });
    }
    if options.compress && options.existing {
        return Err(DiskError::Geometry {
            path: to.to_owned(),
            reason: "compressed clusters can be written to a new image only",
        });
    }
    let job = Job::new(source.1, &target, &extents, options);
    job.run(progress).map_err(failed("copy to", to))?;
    target.disk().sync()
}

struct Job<'a> {
    source: &'a Opened,
    target: &'a Opened,
    compress: bool,
    /// What is zero has to be written, and how.
    zeroes: Zeroes,
    /// Stretches that have data, in pieces.
    pieces: Vec<(u64, u64)>,
    next: AtomicUsize,
    done: AtomicU64,
    stop: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

impl<'a> Job<'a> {
    fn new(source: &'a Opened, target: &'a Opened, extents: &[Extent], options: &ConvertOptions) -> Job<'a> {
        let zeroes = match (options.full, options.existing) {
            (true, _) => Zeroes::Written,
            (false, true) => Zeroes::Punched,
            (false, false) => Zeroes::LeftOut,
        };
        let mut pieces: Vec<(u64, u64)> = Vec::new();
        let there =
            |extent: &&Extent| zeroes != Zeroes::LeftOut || !matches!(extent.kind, ExtentKind::Zero { .. });
        for extent in extents.iter().filter(there) {
            let end = extent.start + extent.length;
            let mut at = extent.start;
            while at < end {
                // Pieces keep to boundaries, so that no cluster is written by two threads.
                let piece_end = end.min((at / PIECE + 1) * PIECE);
                match pieces.last_mut() {
                    Some((start, len)) if *start / PIECE == at / PIECE => *len = piece_end - *start,
                    _ => pieces.push((at, piece_end - at)),
                }
                at = piece_end;
            }
        }
        Job {
            source,
            target,
            compress: options.compress,
            zeroes,
            pieces,
            next: AtomicUsize::new(0),
            done: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    fn run(&self, progress: &(dyn Fn(f64) + Sync)) -> io::Result<()> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        std::thread::scope(|scope| {
            for _ in 0..threads.min(self.pieces.len()) {
                scope.spawn(|| {
                    if let Err(error) = self.work(progress) {
                        self.stop.store(true, Ordering::Relaxed);
                        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                });
            }
        });
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    fn work(&self, progress: &(dyn Fn(f64) + Sync)) -> io::Result<()> {
        let mut from = Blocking::open(self.source.disk()).map_err(io::Error::other)?;
        let mut writer = Writer::new(self.target, self.compress, self.zeroes)?;
        let mut bytes = vec![0; usize::try_from(PIECE).unwrap_or(0)];
        let total: u64 = self.pieces.iter().map(|(_, len)| len).sum();
        while !self.stop.load(Ordering::Relaxed)
            && let Some(&(start, len)) = self.pieces.get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            // For compression, whole clusters: what lies around the data is zeroes.
            let (start, len) = writer.widen(start, len, self.source.disk().info().size_bytes)?;
            let piece = bytes.get_mut(..usize::try_from(len).unwrap_or(0)).unwrap_or_default();
            from.read(start, piece)?;
            writer.write(start, piece)?;
            let done = self.done.fetch_add(len, Ordering::Relaxed) + len;
            #[expect(clippy::cast_precision_loss, reason = "it is for a progress bar")]
            progress((done as f64 / total as f64).min(1.0));
        }
        Ok(())
    }
}

/// What becomes of zeroes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zeroes {
    /// Nothing: the copy is new, and zero already.
    LeftOut,
    /// What is there now is given back.
    Punched,
    /// They are data.
    Written,
}

/// One thread's way to the copy.
struct Writer<'a> {
    io: Blocking,
    zeroes: Zeroes,
    packer: Option<(&'a crate::QcowDisk, Packer)>,
}

impl<'a> Writer<'a> {
    fn new(target: &'a Opened, compress: bool, zeroes: Zeroes) -> io::Result<Writer<'a>> {
        let packer = match target {
            Opened::Qcow2(disk) if compress => Some((&**disk, Packer::for_disk(disk)?)),
            _ => None,
        };
        Ok(Writer { io: Blocking::open(target.disk()).map_err(io::Error::other)?, zeroes, packer })
    }

    fn widen(&self, start: u64, len: u64, size: u64) -> io::Result<(u64, u64)> {
        let Some((disk, _)) = &self.packer else { return Ok((start, len)) };
        let cluster = disk.cluster_size()?;
        let first = start / cluster * cluster;
        let end = (start + len).next_multiple_of(cluster).min(size);
        Ok((first, end - first))
    }

    fn write(&mut self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        match &mut self.packer {
            Some((disk, packer)) => {
                let cluster = usize::try_from(disk.cluster_size()?).unwrap_or(SPARSE);
                let mut at = start;
                for piece in bytes.chunks_mut(cluster) {
                    let len = piece.len() as u64;
                    if !is_zero(piece) {
                        disk.write_packed(packer, at, piece)?;
                    }
                    at += len;
                }
                Ok(())
            }
            None if self.zeroes == Zeroes::Written => self.io.write(start, bytes),
            None => self.write_sparse(start, bytes),
        }
    }

    /// Writes what is not zero, in pieces as long as can be.
    fn write_sparse(&mut self, start: u64, bytes: &[u8]) -> io::Result<()> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let zero: usize = rest.chunks(SPARSE).take_while(|chunk| is_zero(chunk)).map(<[u8]>::len).sum();
            if zero > 0 && self.zeroes == Zeroes::Punched {
                self.io.write_zeroes(start + at as u64, zero as u64, true)?;
            }
            let (_, rest) = rest.split_at_checked(zero).unwrap_or_default();
            let data: usize = rest.chunks(SPARSE).take_while(|chunk| !is_zero(chunk)).map(<[u8]>::len).sum();
            if let Some(data) = rest.get(..data).filter(|data| !data.is_empty()) {
                self.io.write(start + (at + zero) as u64, data)?;
            }
            at += zero + data;
        }
        Ok(())
    }
}
