//! Requests on a qcow2 disk: one operation for each stretch of a file.

use std::io;

use super::Shared;
use super::chain::Found;
use crate::buf::Bufs;
use crate::disk::{DiskInfo, Request};
use crate::engine::What;
use crate::queue::{Format, Ops};

impl Format for Shared {
    fn info(&self) -> DiskInfo {
        self.info
    }

    fn start(&self, request: Request, ops: &mut Ops<'_>) -> io::Result<()> {
        match request {
            Request::Read { offset, bufs } => self.read(offset, bufs, ops)?,
            Request::Write { offset, bufs } => self.write(offset, bufs, ops)?,
            Request::Flush => self.flush(ops)?,
            Request::Discard { offset, len } => self.image.discard(offset, len)?,
            Request::WriteZeroes { offset, len, .. } => self.image.zero(offset, len)?,
        }
        self.write_through()
    }
}

impl Shared {
    /// Starts the reads that a request takes; what needs no file is done at once.
    fn read(&self, offset: u64, bufs: Bufs, ops: &mut Ops<'_>) -> io::Result<()> {
        let total = bufs.total_len();
        let (found, len) = self.image.chain.find(offset, total)?;
        if len == total
            && let Found::Data { layer, host, .. } = found
        {
            ops.start(layer, What::Read { offset: host, bufs });
            return Ok(());
        }
        let mut done = 0;
        while done < total {
            let at = offset + done;
            let (found, len) = self.image.chain.find(at, total - done)?;
            let piece = bufs.part(done, len);
            match found {
                Found::Zero { .. } => piece.fill_zero(),
                Found::Data { layer, host, .. } => {
                    ops.start(layer, What::Read { offset: host, bufs: piece });
                }
                Found::Packed { layer, packed } => {
                    if !self.image.chain.read_packed(layer, packed, at, &piece)? {
                        continue;
                    }
                }
            }
            done += len;
        }
        Ok(())
    }

    /// Starts the writes that a request takes. Those to clusters that the image does not own yet
    /// are done at once, in this thread.
    fn write(&self, offset: u64, bufs: Bufs, ops: &mut Ops<'_>) -> io::Result<()> {
        let total = bufs.total_len();
        let mut bufs = Some(bufs);
        let mut done = 0;
        while done < total {
            let (found, len) = self.image.chain.find(offset + done, total - done)?;
            let piece =
                if len == total { bufs.take() } else { bufs.as_ref().map(|bufs| bufs.part(done, len)) };
            let piece = piece.unwrap_or_default();
            match found {
                Found::Data { owned: true, host, .. } => {
                    ops.start(0, What::Write { offset: host, bufs: piece });
                }
                _ => self.image.write(offset + done, &piece)?,
            }
            done += len;
        }
        Ok(())
    }

    /// Where each write is to be durable when it completes, so are the tables that it changed.
    fn write_through(&self) -> io::Result<()> {
        if self.info.write_cache || !self.image.is_dirty() {
            return Ok(());
        }
        self.image.flush()
    }

    /// Flushes in this thread where tables have to be written too.
    fn flush(&self, ops: &mut Ops<'_>) -> io::Result<()> {
        if self.image.is_dirty() {
            return self.image.flush();
        }
        if self.image.is_writable() {
            ops.start(0, What::Sync);
        }
        Ok(())
    }
}
