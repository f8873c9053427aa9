//! A queue on a copy-on-write disk.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::{CLUSTER, Fill, Shared};
use crate::buf::Bufs;
use crate::disk::{Completion, DiskError, DiskQueue, Request, SubmitError};
use crate::engine::{Engine, FileIndex, Op, What};
use crate::gather::{Gather, PendingId};

const BASE: FileIndex = 0;
const OVERLAY: FileIndex = 1;

#[derive(Debug)]
pub(super) struct CowQueue {
    shared: Arc<Shared>,
    engine: Engine,
    gather: Gather,
    depth: u16,
}

/// A part of a request whose clusters are all in the same file.
struct Run {
    offset: u64,
    len: u64,
    written: bool,
}

impl CowQueue {
    pub(super) fn open(shared: Arc<Shared>, depth: u16) -> Result<CowQueue, DiskError> {
        let files = vec![Arc::clone(&shared.base), Arc::clone(&shared.overlay)];
        let engine = Engine::open(shared.engine, depth, files)?;
        Ok(CowQueue { shared, engine, gather: Gather::default(), depth })
    }

    fn run(&self, offset: u64, len: u64) -> Run {
        let clusters = (offset % CLUSTER).saturating_add(len).div_ceil(CLUSTER);
        let (written, same) = self.shared.written.run(offset / CLUSTER, clusters);
        let len = len.min((same * CLUSTER).saturating_sub(offset % CLUSTER));
        Run { offset, len, written }
    }

    fn start(&mut self, id: PendingId, file: FileIndex, what: What) {
        self.gather.add(id);
        self.engine.push(Op { file, what }, id.user());
    }

    fn read(&mut self, id: PendingId, offset: u64, bufs: &Bufs) {
        self.each_run(offset, bufs, |queue, run, bufs| {
            let file = if run.written { OVERLAY } else { BASE };
            queue.start(id, file, What::Read { offset: run.offset, bufs });
        });
    }

    fn write(&mut self, id: PendingId, offset: u64, bufs: &Bufs) -> io::Result<()> {
        let mut result = Ok(());
        self.each_run(offset, bufs, |queue, run, bufs| {
            if run.written {
                queue.start(id, OVERLAY, What::Write { offset: run.offset, bufs });
            } else if result.is_ok() {
                result = queue.write_new(run.offset, &bufs);
            }
        });
        result
    }

    fn each_run(&mut self, offset: u64, bufs: &Bufs, mut each: impl FnMut(&mut CowQueue, &Run, Bufs)) {
        let total = bufs.total_len();
        let mut done = 0;
        while done < total {
            let run = self.run(offset.saturating_add(done), total - done);
            each(self, &run, bufs.part(done, run.len));
            done += run.len;
        }
    }

    /// Writes to clusters that the overlay does not hold yet, in this thread.
    fn write_new(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        let total = bufs.total_len();
        let mut done = 0;
        while done < total {
            let at = offset.saturating_add(done);
            let piece = (total - done).min(CLUSTER - at % CLUSTER);
            self.shared.put(at, piece, Fill::Data(&bufs.part(done, piece)))?;
            done += piece;
        }
        Ok(())
    }
}

impl DiskQueue for CowQueue {
    fn submit(&mut self, request: Request, token: u64) -> Result<(), SubmitError> {
        let bytes = request.check(&self.shared.info, self.gather.len(), self.depth)?;
        let id = self.gather.begin(token, bytes);
        let result = match request {
            Request::Read { offset, bufs } => {
                self.read(id, offset, &bufs);
                Ok(())
            }
            Request::Write { offset, bufs } => self.write(id, offset, &bufs),
            Request::Flush => Ok(()),
            Request::Discard { offset, len } => self.shared.zero(offset, len, true),
            Request::WriteZeroes { offset, len, .. } => self.shared.zero(offset, len, false),
        };
        if self.gather.settle(id, result) {
            // All completions come from the engine.
            self.engine.push(Op { file: OVERLAY, what: What::Nothing }, id.user());
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
