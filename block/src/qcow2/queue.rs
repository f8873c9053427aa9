//! A queue on a qcow2 disk: a request becomes one operation for each stretch of a file.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::Shared;
use super::chain::Found;
use crate::buf::Bufs;
use crate::disk::{Completion, DiskError, DiskQueue, Request, SubmitError};
use crate::engine::{Engine, Op, What};
use crate::gather::{Gather, PendingId};

#[derive(Debug)]
pub(super) struct QcowQueue {
    shared: Arc<Shared>,
    engine: Engine,
    gather: Gather,
    depth: u16,
}

impl QcowQueue {
    pub(super) fn open(shared: Arc<Shared>, depth: u16) -> Result<QcowQueue, DiskError> {
        let engine = Engine::open(shared.engine, depth, shared.files.clone())?;
        Ok(QcowQueue { shared, engine, gather: Gather::default(), depth })
    }

    fn start(&mut self, id: PendingId, file: usize, what: What) {
        self.gather.add(id);
        self.engine.push(Op { file, what }, id.user());
    }

    /// Starts the reads that a request takes; what needs no file is done at once.
    fn read(&mut self, id: PendingId, offset: u64, bufs: Bufs) -> io::Result<()> {
        let total = bufs.total_len();
        let (found, len) = self.shared.image.chain.find(offset, total)?;
        if len == total
            && let Found::Data { layer, host, .. } = found
        {
            self.start(id, layer, What::Read { offset: host, bufs });
            return Ok(());
        }
        let mut done = 0;
        while done < total {
            let at = offset + done;
            let (found, len) = self.shared.image.chain.find(at, total - done)?;
            let piece = bufs.part(done, len);
            match found {
                Found::Zero { .. } => piece.fill_zero(),
                Found::Data { layer, host, .. } => {
                    self.start(id, layer, What::Read { offset: host, bufs: piece });
                }
                Found::Packed { layer, packed } => {
                    if !self.shared.image.chain.read_packed(layer, packed, at, &piece)? {
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
    fn write(&mut self, id: PendingId, offset: u64, bufs: Bufs) -> io::Result<()> {
        let total = bufs.total_len();
        let mut bufs = Some(bufs);
        let mut done = 0;
        while done < total {
            let (found, len) = self.shared.image.chain.find(offset + done, total - done)?;
            let piece =
                if len == total { bufs.take() } else { bufs.as_ref().map(|bufs| bufs.part(done, len)) };
            let piece = piece.unwrap_or_default();
            match found {
                Found::Data { owned: true, host, .. } => {
                    self.start(id, 0, What::Write { offset: host, bufs: piece });
                }
                _ => self.shared.image.write(offset + done, &piece)?,
            }
            done += len;
        }
        Ok(())
    }

    /// Where each write is to be durable when it completes, so are the tables that it changed.
    fn write_through(&self) -> io::Result<()> {
        if self.shared.info.write_cache || !self.shared.image.is_dirty() {
            return Ok(());
        }
        self.shared.image.flush()
    }

    /// Flushes in this thread where tables have to be written too.
    fn flush(&mut self, id: PendingId) -> io::Result<()> {
        if self.shared.image.is_dirty() {
            return self.shared.image.flush();
        }
        if self.shared.image.is_writable() {
            self.start(id, 0, What::Sync);
        }
        Ok(())
    }
}

impl DiskQueue for QcowQueue {
    fn submit(&mut self, request: Request, token: u64) -> Result<(), SubmitError> {
        let bytes = request.check(&self.shared.info, self.gather.len(), self.depth)?;
        let id = self.gather.begin(token, bytes);
        let result = match request {
            Request::Read { offset, bufs } => self.read(id, offset, bufs),
            Request::Write { offset, bufs } => self.write(id, offset, bufs),
            Request::Flush => self.flush(id),
            Request::Discard { offset, len } => self.shared.image.discard(offset, len),
            Request::WriteZeroes { offset, len, .. } => self.shared.image.zero(offset, len),
        };
        let result = result.and_then(|()| self.write_through());
        if self.gather.settle(id, result) {
            // All completions come from the engine.
            self.engine.push(Op { file: 0, what: What::Nothing }, id.user());
        }
        Ok(())
    }

    fn flush_submissions(&mut self) {
        self.engine.flush();
    }

    fn completion_fd(&self) -> BorrowedFd<'_> {
        self.engine.completion_fd()
    }

    fn acknowledge(&mut self) {
        self.engine.acknowledge();
    }

    fn next_completion(&mut self) -> Option<Completion> {
        self.gather.next(&mut self.engine)
    }

    fn in_flight(&self) -> usize {
        self.gather.len()
    }

    fn wait(&mut self) {
        self.engine.wait();
    }
}
