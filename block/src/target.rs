//! A host file or block device, and whole (never short) I/O on it in the caller's thread.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::buf::Bufs;
use crate::disk::DiskError;
use crate::lock::{self, Claim, lock};
use crate::sys::{self, DirectAlign, LockKind};

/// What kind of host object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Device,
}

/// How to open one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) read_only: bool,
    pub(crate) direct: bool,
    pub(crate) dsync: bool,
    pub(crate) nosync: bool,
    pub(crate) lock: Locking,
}

/// Whether a file is locked against other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locking {
    /// When it is opened.
    Now,
    /// When somebody wants it to be.
    Later,
    /// Not at all: several share it.
    Never,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) direct: Option<DirectAlign>,
    pub(crate) dsync: bool,
    /// Whether and how it is locked: shared if it is only read.
    pub(crate) lock: Option<LockKind>,
    /// Keeps others from writing a block device by another node.
    claim: Mutex<Claim>,
    /// Nothing has to be durable.
    pub(crate) nosync: bool,
    /// From here on, reading past the end of the file gives zeroes; before it, that is an error
    /// (somebody has truncated the file).
    pub(crate) zeroes_from: AtomicU64,
    no_zero_range: AtomicBool,
    /// A sync failed: what the page cache held then may be lost, and no later sync would say so.
    sync_failed: AtomicBool,
}

/// What a kernel without `STATX_DIOALIGN` is assumed to demand.
const ASSUMED_ALIGN: DirectAlign = DirectAlign { memory: 512, offset: 512 };
/// Unit in which zeroes are written where the host has no better way.
const ZEROES: usize = 64 << 10;

impl Target {
    /// Opens and locks a file or device.
    pub(crate) fn open(path: &Path, how: How) -> Result<Target, DiskError> {
        // O_NONBLOCK: opening a FIFO by mistake must not hang; it means nothing to files and disks.
        let direct = if how.direct { libc::O_DIRECT } else { 0 };
        let opened = OpenOptions::new()
            .read(true)
            .write(!how.read_only)
            .custom_flags(libc::O_NONBLOCK | direct)
            .open(path);
        let file = opened.map_err(|source| match source.raw_os_error() {
            Some(libc::EINVAL) if how.direct => DiskError::NoDirect { path: path.to_owned(), source },
            _ => DiskError::Open { path: path.to_owned(), source },
        })?;
        Target::from_file(file, path, how)
    }

    /// Takes a file that was opened (and, for `direct`, with `O_DIRECT`) by someone else.
    pub(crate) fn from_file(file: File, path: &Path, how: How) -> Result<Target, DiskError> {
        let meta = file.metadata().map_err(|source| DiskError::Io {
            doing: "look at",
            path: path.to_owned(),
            source,
        })?;
        let kind = match meta.file_type() {
            kind if kind.is_file() => Kind::Regular,
            kind if kind.is_block_device() => Kind::Device,
            _ => return Err(DiskError::NotADisk { path: path.to_owned() }),
        };
        let wanted = if how.read_only { LockKind::Shared } else { LockKind::Exclusive };
        let direct = how.direct.then(|| sys::direct_align(&file).unwrap_or(ASSUMED_ALIGN));
        let target = Target {
            file,
            path: path.to_owned(),
            kind,
            direct,
            dsync: how.dsync,
            lock: (how.lock != Locking::Never).then_some(wanted),
            claim: Mutex::default(),
            nosync: how.nosync,
            zeroes_from: AtomicU64::new(meta.len()),
            no_zero_range: AtomicBool::new(false),
            sync_failed: AtomicBool::new(false),
        };
        if how.lock == Locking::Now {
            target.hold()?;
        }
        Ok(target)
    }

    /// A file with nothing special about it, which reads as zeroes past its end.
    pub(crate) fn scratch(file: File, path: &Path) -> Target {
        Target {
            file,
            path: path.to_owned(),
            kind: Kind::Regular,
            direct: None,
            dsync: false,
            lock: None,
            claim: Mutex::default(),
            nosync: false,
            zeroes_from: AtomicU64::new(0),
            no_zero_range: AtomicBool::new(false),
            sync_failed: AtomicBool::new(false),
        }
    }

    pub(crate) fn error(&self, doing: &'static str) -> impl FnOnce(io::Error) -> DiskError + use<> {
        let path = self.path.clone();
        move |source| DiskError::Io { doing, path, source }
    }

    /// Locks the file, if it is one that is locked, and claims a device that is written.
    pub(crate) fn hold(&self) -> Result<(), DiskError> {
        let Some(kind) = self.lock else { return Ok(()) };
        lock(&self.file, &self.path, kind)?;
        let mut claim = self.claim();
        if (self.kind, kind) == (Kind::Device, LockKind::Exclusive) && !matches!(*claim, Claim::Had { .. }) {
            *claim = match lock::claim(&self.file, &self.path) {
                Ok(claim) => claim,
                Err(error) => {
                    // What is not had whole is not kept from others.
                    let _ = sys::unlock(&self.file);
                    return Err(error);
                }
            };
        }
        Ok(())
    }

    /// Whether it is a device that is written here, and that the process may not claim: only its lock keeps others away, who have it by
    /// the same node.
    pub(crate) fn is_unclaimed(&self) -> bool {
        matches!(*self.claim(), Claim::NotGiven)
    }

    fn claim(&self) -> MutexGuard<'_, Claim> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives lock and claim up.
    pub(crate) fn let_go(&self) -> Result<(), DiskError> {
        *self.claim() = Claim::None;
        match self.lock {
            Some(_) => sys::unlock(&self.file).map_err(self.error("unlock")),
            None => Ok(()),
        }
    }

    /// Makes an exclusive lock a shared one, without letting anybody in between: the file is only read from now on.
    pub(crate) fn lend(&self) -> Result<(), DiskError> {
        match self.lock {
            Some(_) => lock(&self.file, &self.path, LockKind::Shared),
            None => Ok(()),
        }
    }

    /// How a file is to be opened that is used as this one.
    pub(crate) fn alike(&self) -> How {
        How {
            read_only: false,
            direct: self.direct.is_some(),
            dsync: self.dsync,
            nosync: self.nosync,
            lock: if self.lock.is_some() { Locking::Now } else { Locking::Never },
        }
    }

    /// Whether the buffers can go to the kernel as they are.
    pub(crate) fn takes(&self, bufs: &Bufs) -> bool {
        self.direct.is_none_or(|align| bufs.is_aligned(align.memory))
    }

    /// Fills all of `bufs` from `offset`.
    pub(crate) fn read(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        match self.direct {
            Some(align) if !bufs.is_aligned(align.memory) => {
                let mut bounce = Bounce::new(bufs.total_len(), align)?;
                self.read_aligned(offset, &bounce.bufs())?;
                bufs.copy_in(bounce.bytes());
                Ok(())
            }
            _ => self.read_aligned(offset, bufs),
        }
    }

    fn read_aligned(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        let total = bufs.total_len();
        let mut done = 0;
        while done < total {
            let at = offset.saturating_add(done);
            let rest = bufs.part(done, total - done);
            match sys::preadv(&self.file, rest.as_slice(), at) {
                Ok(0) if at >= self.zeroes_from.load(Ordering::Relaxed) => {
                    rest.fill_zero();
                    return Ok(());
                }
                Ok(0) => return Err(shrunk()),
                Ok(read) => done += read as u64,
                Err(error) if retry(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bufs` at `offset`.
    pub(crate) fn write(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        match self.direct {
            Some(align) if !bufs.is_aligned(align.memory) => {
                let mut bounce = Bounce::new(bufs.total_len(), align)?;
                bufs.copy_out(bounce.bytes());
                self.write_aligned(offset, &bounce.bufs())
            }
            _ => self.write_aligned(offset, bufs),
        }
    }

    fn write_aligned(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        let total = bufs.total_len();
        let mut done = 0;
        while done < total {
            let at = offset.saturating_add(done);
            let rest = bufs.part(done, total - done);
            match sys::pwritev(&self.file, rest.as_slice(), at, self.dsync) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written as u64,
                Err(error) if retry(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.nosync {
            return Ok(());
        }
        loop {
            match self.file.sync_data() {
                Err(error) if retry(&error) => {}
                result => return self.synced(result),
            }
        }
    }

    /// What a sync is worth that the kernel ended with `result`. Linux tells of a page that it could not write only once
    /// and forgets the page: a sync that is tried again succeeds, and the data is gone. So, through the page cache, once
    /// failed is failed for good. Direct I/O leaves nothing in the page cache.
    pub(crate) fn synced(&self, result: io::Result<()>) -> io::Result<()> {
        if self.direct.is_some() {
            return result;
        }
        match result {
            Ok(()) if self.sync_failed.load(Ordering::Acquire) => {
                Err(io::Error::other("an earlier flush failed, and what was written before it may be lost"))
            }
            Ok(()) => Ok(()),
            Err(error) => {
                self.sync_failed.store(true, Ordering::Release);
                Err(error)
            }
        }
    }

    /// Gives a range back to the host where it can; what the range reads as afterwards is open.
    pub(crate) fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let result = match self.kind {
            Kind::Regular => sys::fallocate(&self.file, PUNCH, offset, len),
            Kind::Device => sys::device_discard(&self.file, offset, len),
        };
        match result {
            Err(error) if unsupported(&error) => Ok(()),
            result => result,
        }
    }

    /// The fallocate(2) mode that zeroes a range, if that is the way to do it.
    pub(crate) fn zero_mode(&self, unmap: bool) -> Option<i32> {
        match (self.kind, unmap) {
            (_, true) => Some(PUNCH),
            (Kind::Regular, false) if !self.no_zero_range.load(Ordering::Relaxed) => Some(ZERO),
            _ => None,
        }
    }

    /// Makes a range read as zeroes.
    pub(crate) fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        if let Some(mode) = self.zero_mode(unmap) {
            match sys::fallocate(&self.file, mode, offset, len) {
                Err(error) if unsupported(&error) => self.cannot_zero(mode),
                Ok(()) => return self.settle(),
                result => return result,
            }
        }
        match self.kind {
            Kind::Regular => self.write_zero_bytes(offset, len),
            Kind::Device => match sys::device_zero(&self.file, offset, len) {
                Err(error) if unsupported(&error) => self.write_zero_bytes(offset, len),
                Ok(()) => self.settle(),
                result => result,
            },
        }
    }

    /// Remembers that the file system refused `mode`.
    pub(crate) fn cannot_zero(&self, mode: i32) {
        if mode == ZERO {
            self.no_zero_range.store(true, Ordering::Relaxed);
        }
    }

    /// What a writethrough file needs after anything but a plain write.
    fn settle(&self) -> io::Result<()> {
        if self.dsync { self.sync() } else { Ok(()) }
    }

    fn write_zero_bytes(&self, offset: u64, len: u64) -> io::Result<()> {
        let align = self.direct.unwrap_or(ASSUMED_ALIGN);
        let mut zeroes = Bounce::new(len.min(ZEROES as u64), align)?;
        let zeroes = zeroes.bufs();
        let mut done = 0;
        while done < len {
            let piece = zeroes.part(0, len - done);
            self.write_aligned(offset.saturating_add(done), &piece)?;
            done += piece.total_len();
        }
        Ok(())
    }
}

pub(crate) const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;

/// Whether an error says only "not now".
pub(crate) fn retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Whether an error says that the host has no such operation.
pub(crate) fn unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOTTY))
}

fn shrunk() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the image file is shorter than when it was opened")
}

/// Memory aligned for direct I/O.
struct Bounce {
    store: Vec<u8>,
    start: usize,
    len: usize,
}

impl Bounce {
    fn new(len: u64, align: DirectAlign) -> io::Result<Bounce> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let align = align.memory.max(align.offset) as usize;
        let store = vec![0u8; len.saturating_add(align)];
        let start = store.as_ptr().align_offset(align);
        Ok(Bounce { store, start, len })
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.store.get_mut(self.start..self.start.saturating_add(self.len)).unwrap_or_default()
    }

    /// The memory as buffers. They are used up before `self` goes: all calls here block.
    fn bufs(&mut self) -> Bufs {
        Bufs::borrowing(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_may_not_be_claimed_is_said_to_be_unclaimed_while_it_is_held() {
        let target = Target::scratch(tempfile::tempfile().unwrap(), Path::new("x"));
        assert!(!target.is_unclaimed());
        *target.claim() = Claim::NotGiven;
        assert!(target.is_unclaimed());
        target.let_go().unwrap();
        assert!(!target.is_unclaimed());
    }
}
