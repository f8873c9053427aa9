//! A queue on a raw disk: one operation for each request.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::Shared;
use crate::disk::{Completion, DiskError, DiskQueue, Request, SubmitError};
use crate::engine::{Engine, Op, What};
use crate::gather::Gather;

#[derive(Debug)]
pub(super) struct RawQueue {
    shared: Arc<Shared>,
    engine: Engine,
    gather: Gather,
    depth: u16,
}

impl RawQueue {
    pub(super) fn open(shared: Arc<Shared>, depth: u16) -> Result<RawQueue, DiskError> {
        let engine = Engine::open(shared.engine, depth, vec![Arc::clone(&shared.target)])?;
        Ok(RawQueue { shared, engine, gather: Gather::default(), depth })
    }
}

impl DiskQueue for RawQueue {
    fn submit(&mut self, request: Request, token: u64) -> Result<(), SubmitError> {
        let bytes = request.check(&self.shared.info(), self.gather.len(), self.depth)?;
        let id = self.gather.begin(token, bytes);
        let what = match request {
            Request::Read { offset, bufs } => What::Read { offset, bufs },
            Request::Write { offset, bufs } => What::Write { offset, bufs },
            Request::Flush => What::Sync,
            Request::Discard { len: 0, .. } | Request::WriteZeroes { len: 0, .. } => What::Nothing,
            Request::Discard { offset, len } => What::Discard { offset, len },
            Request::WriteZeroes { offset, len, unmap } => What::Zero { offset, len, unmap },
        };
        self.engine.push(Op { file: 0, what }, id.user());
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
