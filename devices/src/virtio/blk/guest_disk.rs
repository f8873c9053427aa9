//! A disk's queue that reads and writes guest memory directly.
#![expect(
    unsafe_code,
    reason = "the disk works on guest memory itself; this is where its addresses are vouched for"
)]

use block::{Bufs, Completion, DiskQueue, IoBuf, Request, SubmitError};

use crate::GuestRam;
use crate::virtio::buffers::{BadChain, Segment, host_pieces};

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the disk to the guest.
    Read,
    /// From the guest to the disk.
    Write,
}

/// Why a request did not reach the disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    #[error(transparent)]
    Chain(#[from] BadChain),
    #[error(transparent)]
    Disk(#[from] SubmitError),
}

/// A disk's queue with the memory that its requests point into.
pub(super) struct GuestDisk {
    /// Dropped first: it waits for the kernel to be done with the memory.
    queue: Box<dyn DiskQueue>,
    mem: GuestRam,
}

impl GuestDisk {
    pub(super) fn new(queue: Box<dyn DiskQueue>, mem: GuestRam) -> Self {
        Self { queue, mem }
    }

    pub(super) fn mem(&self) -> &GuestRam {
        &self.mem
    }

    /// Submits the transfer of `len` bytes between the disk at `offset` and the segments, which hold at least that
    /// much.
    pub(super) fn transfer(
        &mut self,
        direction: Direction,
        offset: u64,
        len: u64,
        segments: impl Iterator<Item = Segment>,
        token: u64,
    ) -> Result<(), TransferError> {
        let mut bufs = Bufs::new();
        let mut left = len;
        for segment in segments {
            let segment =
                Segment { len: segment.len.min(u32::try_from(left).unwrap_or(u32::MAX)), ..segment };
            left -= u64::from(segment.len);
            host_pieces(&self.mem, segment, |address, len| {
                // SAFETY: the piece is guest RAM, mapped readable and writable for as long as `self.mem` lives,
                // which is longer than `self.queue`; RAM is only ever reached through raw pointers.
                bufs.push(unsafe { IoBuf::from_raw(address, len) });
            })?;
            if left == 0 {
                break;
            }
        }
        let request = match direction {
            Direction::Read => Request::Read { offset, bufs },
            Direction::Write => Request::Write { offset, bufs },
        };
        Ok(self.queue.submit(request, token)?)
    }

    pub(super) fn flush(&mut self, token: u64) -> Result<(), TransferError> {
        Ok(self.queue.submit(Request::Flush, token)?)
    }

    pub(super) fn discard(&mut self, offset: u64, len: u64, token: u64) -> Result<(), TransferError> {
        Ok(self.queue.submit(Request::Discard { offset, len }, token)?)
    }

    pub(super) fn zero(
        &mut self,
        offset: u64,
        len: u64,
        unmap: bool,
        token: u64,
    ) -> Result<(), TransferError> {
        Ok(self.queue.submit(Request::WriteZeroes { offset, len, unmap }, token)?)
    }

    /// Hands everything submitted to the kernel.
    pub(super) fn push(&mut self) {
        self.queue.flush_submissions();
    }

    pub(super) fn completion_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.queue.completion_fd())
    }

    pub(super) fn next_completion(&mut self) -> Option<Completion> {
        self.queue.next_completion()
    }

    /// Waits for a completion; false if nothing is in flight.
    pub(super) fn wait(&mut self) -> bool {
        let waiting = self.queue.in_flight() > 0;
        if waiting {
            self.queue.wait();
        }
        waiting
    }
}
