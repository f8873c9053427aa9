//! A disk used one call at a time, with ordinary slices.

use std::io;

use crate::buf::Bufs;
use crate::disk::{Disk, DiskError, DiskQueue, Request};

/// Reads and writes that return when they are done.
pub struct Blocking {
    queue: Box<dyn DiskQueue>,
}

impl Blocking {
    /// Opens a queue on `disk` for this.
    ///
    /// # Errors
    /// As [`Disk::open_queue`].
    pub fn open(disk: &dyn Disk) -> Result<Blocking, DiskError> {
        Ok(Blocking { queue: disk.open_queue(1)? })
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// Beyond the disk's end, or what the host says.
    pub fn read(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.run(Request::Read { offset, bufs: Bufs::borrowing(buf) })
    }

    /// Writes `buf` at `offset`.
    ///
    /// # Errors
    /// Beyond the disk's end, read-only, or what the host says.
    pub fn write(&mut self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.run(Request::Write { offset, bufs: Bufs::borrowing_const(buf) })
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the host says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.run(Request::Flush)
    }

    /// Gives a range back.
    ///
    /// # Errors
    /// As [`Blocking::write`].
    pub fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.run(Request::Discard { offset, len })
    }

    /// Zeroes a range.
    ///
    /// # Errors
    /// As [`Blocking::write`].
    pub fn write_zeroes(&mut self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.run(Request::WriteZeroes { offset, len, unmap })
    }

    /// Returns only when the request is over, so that buffers may be borrowed for the call.
    fn run(&mut self, request: Request) -> io::Result<()> {
        self.queue.submit(request, 0).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let mut result = Ok(());
        self.queue.drain(&mut |completion| result = completion.result.map(drop));
        result
    }
}
