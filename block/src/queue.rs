//! A queue on a disk of any format: the format takes requests apart into operations on its files, the rest is the
//! same for all.

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::disk::{Completion, DiskError, DiskInfo, DiskQueue, Request, SubmitError};
use crate::engine::{Engine, EngineKind, FileIndex, Op, What};
use crate::gather::{Gather, PendingId};
use crate::target::Target;

/// What queues share of a disk.
pub(crate) trait Format: Debug + Send + Sync {
    /// What the disk looks like now.
    fn info(&self) -> DiskInfo;

    /// Starts the operations that a request takes. What needs no file, or has to be in order, is done at once.
    ///
    /// # Errors
    /// The request's own, where it fails before all of it has started.
    fn start(&self, request: Request, ops: &mut Ops<'_>) -> io::Result<()>;
}

/// Takes the operations of one request.
pub(crate) struct Ops<'a> {
    id: PendingId,
    engine: &'a mut Engine,
    gather: &'a mut Gather,
}

impl Ops<'_> {
    /// Starts an operation on one of the queue's files.
    pub(crate) fn start(&mut self, file: FileIndex, what: What) {
        self.gather.add(self.id);
        self.engine.push(Op { file, what }, self.id.user());
    }
}

/// A queue.
#[derive(Debug)]
pub(crate) struct FormatQueue<F> {
    format: Arc<F>,
    engine: Engine,
    gather: Gather,
    depth: u16,
}

impl<F: Format> FormatQueue<F> {
    /// A queue of at most `depth` requests at a time, whose operations are on `files`.
    pub(crate) fn open(
        format: &Arc<F>,
        engine: EngineKind,
        depth: u16,
        files: Vec<Arc<Target>>,
    ) -> Result<FormatQueue<F>, DiskError> {
        let engine = Engine::open(engine, depth, files)?;
        Ok(FormatQueue { format: Arc::clone(format), engine, gather: Gather::default(), depth })
    }
}

impl<F: Format> DiskQueue for FormatQueue<F> {
    fn submit(&mut self, request: Request, token: u64) -> Result<(), SubmitError> {
        let bytes = request.check(&self.format.info(), self.gather.len(), self.depth)?;
        let id = self.gather.begin(token, bytes);
        let mut ops = Ops { id, engine: &mut self.engine, gather: &mut self.gather };
        let result = self.format.start(request, &mut ops);
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
