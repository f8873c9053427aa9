//! What every disk offers, whatever its format.

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::buf::Bufs;
use crate::host_file::HostFile;
use crate::qcow2::QcowError;

/// A disk, shared by all queues of a device.
pub trait Disk: Send + Sync + Debug {
    /// What the disk is now. Cheap.
    fn info(&self) -> DiskInfo;

    /// Looks at the underlying file again: a file or device that has grown makes the disk grow.
    /// Returns the same as [`Disk::info`] afterwards.
    ///
    /// # Errors
    /// When the file cannot be looked at.
    fn refresh(&self) -> Result<DiskInfo, DiskError> {
        Ok(self.info())
    }

    /// Opens a queue that holds up to `depth` requests at once. Each virtqueue opens its own.
    ///
    /// # Errors
    /// When the host has no descriptors or memory left for it.
    fn open_queue(&self, depth: u16) -> Result<Box<dyn DiskQueue>, DiskError>;

    /// Makes everything written so far durable; blocks.
    ///
    /// # Errors
    /// What the host says.
    fn sync(&self) -> Result<(), DiskError>;

    /// What is at a place without looking at its bytes, and for how many bytes, at most `max`. Writes under way may have changed it
    /// by the time that this returns.
    ///
    /// # Errors
    /// When the host cannot tell.
    fn stretch(&self, offset: u64, max: u64) -> io::Result<(Stretch, u64)> {
        let _ = offset;
        Ok((Stretch::Data, max))
    }

    /// Where in [`Disk::host_file`] a write to the byte at `offset` was seen to, once it has been made durable: where the byte lies
    /// there, and what says so.
    ///
    /// # Errors
    /// When the host cannot tell.
    fn places(&self, offset: u64) -> io::Result<Vec<u64>> {
        Ok(vec![offset])
    }

    /// The file or device that has the disk's bytes and that others can have as well.
    fn host_file(&self) -> Option<HostFile> {
        None
    }

    /// What is below the disk and only read, the nearest first.
    fn bases(&self) -> Vec<HostFile> {
        Vec::new()
    }

    /// Takes the lock that keeps other processes from the disk, if it was opened without (`lock_later`) or given up, and if
    /// this kind of disk has one.
    ///
    /// # Errors
    /// Another process has it.
    fn hold(&self) -> Result<(), DiskError> {
        Ok(())
    }

    /// Whether it is a device that is held for writing, and that this process has no right to claim: another process is kept from writing
    /// it only if it has the device by the same node.
    fn is_unclaimed(&self) -> bool {
        false
    }

    /// Gives the lock up: another process is to have the disk. Nothing may be written from here on, until it is held again.
    ///
    /// # Errors
    /// What the host says.
    fn let_go(&self) -> Result<(), DiskError> {
        Ok(())
    }

    /// Makes a qcow2 image that lies over this disk, and opens it for writing, as this one was. From then on nothing may be written
    /// to this one, unless the new one was dropped before anything was written to it. No queue may be open.
    ///
    /// # Errors
    /// The image cannot be made, or the disk is of a kind that nothing can lie over; then there is no new file.
    fn overlay(&self, new: &NewOverlay<'_>) -> Result<Arc<dyn Disk>, DiskError> {
        Err(DiskError::NoOverlay { path: new.named.to_owned() })
    }

    /// Lets other processes read the disk, which nobody writes to any more.
    ///
    /// # Errors
    /// What the host says.
    fn lend(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// A qcow2 image that is to be made over a disk.
#[derive(Clone, Copy, Debug)]
pub struct NewOverlay<'a> {
    /// Where it is made.
    pub at: &'a Path,
    /// Where it will be, for messages.
    pub named: &'a Path,
    /// What it calls the disk's own file, from the folder that it is in.
    pub base: &'a str,
}

/// What a stretch of a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// Bytes of the disk's own.
    Data,
    /// Zeroes, by word of the disk's own.
    Zeroes,
    /// What lies below the disk shows ([`Disk::bases`]).
    Base,
}

/// A stream of requests to one disk, owned by one thread at a time.
///
/// The use: `submit` any number, `flush_submissions` once, then take completions until there are
/// none, then wait for [`DiskQueue::completion_fd`]; when it is readable, `acknowledge`, and take
/// completions until there are none. Completions come in any order. Dropping a queue waits for
/// what the kernel still holds, so that the buffers are free afterwards.
pub trait DiskQueue: Send {
    /// Accepts a request; its completion will carry `token`.
    ///
    /// # Errors
    /// The request was refused, nothing was done and no completion will come.
    fn submit(&mut self, request: Request, token: u64) -> Result<(), SubmitError>;

    /// Hands everything submitted to the kernel.
    fn flush_submissions(&mut self);

    /// An eventfd that is readable while completions wait to be taken.
    fn completion_fd(&self) -> BorrowedFd<'_>;

    /// Makes [`DiskQueue::completion_fd`] unreadable until the next completion. To be called
    /// before completions are taken, never after.
    fn acknowledge(&mut self);

    /// Takes a completion, if there is one.
    fn next_completion(&mut self) -> Option<Completion>;

    /// Requests accepted whose completion has not been taken.
    fn in_flight(&self) -> usize;

    /// Blocks until a completion can be taken, or nothing is in flight.
    fn wait(&mut self);

    /// Waits for everything in flight, giving each completion to `done`.
    fn drain(&mut self, done: &mut dyn FnMut(Completion)) {
        self.flush_submissions();
        loop {
            while let Some(completion) = self.next_completion() {
                done(completion);
            }
            if self.in_flight() == 0 {
                break;
            }
            self.wait();
        }
        self.acknowledge();
    }
}

/// What to do. Offsets and lengths are in bytes.
#[derive(Debug)]
pub enum Request {
    /// Fill the buffers from the disk.
    Read {
        /// First byte on the disk.
        offset: u64,
        /// Where to.
        bufs: Bufs,
    },
    /// Write the buffers to the disk.
    Write {
        /// First byte on the disk.
        offset: u64,
        /// Where from.
        bufs: Bufs,
    },
    /// Make every write that has completed durable.
    Flush,
    /// The contents of a range no longer matter.
    Discard {
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// A range shall read as zeroes.
    WriteZeroes {
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
        /// Whether the space may be given back to the host.
        unmap: bool,
    },
}

/// The end of a request.
#[derive(Debug)]
pub struct Completion {
    /// As given to [`DiskQueue::submit`].
    pub token: u64,
    /// Bytes read or written (0 for the other requests), or what went wrong. Never short.
    pub result: io::Result<u32>,
}

/// What a disk looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// Current size in bytes, a multiple of `logical_block_size`.
    pub size_bytes: u64,
    /// Smallest unit of addressing that the disk needs, a power of two, at least 512.
    pub logical_block_size: u32,
    /// Unit that the disk handles well, a power of two, at least `logical_block_size`.
    pub physical_block_size: u32,
    /// Whether writes are refused.
    pub read_only: bool,
    /// How to discard, where that does anything.
    pub discard: Option<DiscardLimits>,
    /// How to write zeroes.
    pub write_zeroes: Option<WriteZeroesLimits>,
    /// Whether the medium turns, where that is known.
    pub rotational: Option<bool>,
    /// Whether a completed write may be lost unless it is flushed.
    pub write_cache: bool,
}

/// Limits of [`Request::Discard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscardLimits {
    /// Longest range for one request, in bytes.
    pub max_bytes: u64,
    /// Ranges aligned to this many bytes (a power of two) give space back.
    pub granularity: u32,
}

/// Limits of [`Request::WriteZeroes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteZeroesLimits {
    /// Longest range for one request, in bytes.
    pub max_bytes: u64,
    /// Whether `unmap` may give space back.
    pub may_unmap: bool,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many requests are in flight as the queue was opened for.
    #[error("the queue is full")]
    Full,
    /// It reaches past the end of the disk, or is too long to be one request.
    #[error("bytes {offset}+{len} are beyond the disk's {size}")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// How many.
        len: u64,
        /// The disk's size.
        size: u64,
    },
    /// It would change a read-only disk.
    #[error("the disk is read-only")]
    ReadOnly,
    /// Offset or length is not a multiple of the disk's logical block.
    #[error("bytes {offset}+{len} are not whole blocks of {block} bytes")]
    Misaligned {
        /// First byte asked for.
        offset: u64,
        /// How many.
        len: u64,
        /// The disk's logical block size.
        block: u32,
    },
}

/// Why a disk could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file cannot be opened.
    #[error("cannot open the disk {}", .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process holds the file.
    #[error("the disk {} is in use by another process; stop that one, or share the disk read-only", .path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// Neither a regular file nor a block device.
    #[error("{} is neither a regular file nor a block device", .path.display())]
    NotADisk {
        /// Which.
        path: PathBuf,
    },
    /// Size or block size make no disk.
    #[error("{} cannot be a disk: {reason}", .path.display())]
    Geometry {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The file system or device cannot do direct I/O.
    #[error("{} cannot be opened for direct I/O (cache: none); use cache: writethrough or writeback", .path.display())]
    NoDirect {
        /// Which.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A host call failed.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was being done, as in "read the size of".
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The contents of a qcow2 image are at fault.
    #[error("cannot use the qcow2 image {}", .path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: QcowError,
    },
    /// Nothing can lie over a disk.
    #[error("{}: nothing can be laid over what is there", .path.display())]
    NoOverlay {
        /// What was to lie over it.
        path: PathBuf,
    },
    /// No queue could be set up.
    #[error("cannot set up an I/O queue")]
    Queue(#[source] io::Error),
    /// The host has no io_uring for us, and nothing else was to be used.
    #[error("this host does not allow io_uring (io: native); use io: threads")]
    NoNative(#[source] io::Error),
}

impl Request {
    /// Checks the request against a disk; returns the bytes that its completion will report.
    pub(crate) fn check(&self, info: &DiskInfo, in_flight: usize, depth: u16) -> Result<u32, SubmitError> {
        if in_flight >= usize::from(depth) {
            return Err(SubmitError::Full);
        }
        let (offset, len, writes, bytes) = match self {
            Request::Read { offset, bufs } => (*offset, bufs.total_len(), false, true),
            Request::Write { offset, bufs } => (*offset, bufs.total_len(), true, true),
            Request::Flush => return Ok(0),
            Request::Discard { offset, len } | Request::WriteZeroes { offset, len, .. } => {
                (*offset, *len, true, false)
            }
        };
        if writes && info.read_only {
            return Err(SubmitError::ReadOnly);
        }
        let beyond = SubmitError::OutOfRange { offset, len, size: info.size_bytes };
        if offset.checked_add(len).is_none_or(|end| end > info.size_bytes) {
            return Err(beyond);
        }
        if (offset | len) & u64::from(info.logical_block_size.wrapping_sub(1)) != 0 {
            return Err(SubmitError::Misaligned { offset, len, block: info.logical_block_size });
        }
        if bytes { u32::try_from(len).map_err(|_| beyond) } else { Ok(0) }
    }
}
