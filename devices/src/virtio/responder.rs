//! Queues whose chains are answered at once, one by one.

use super::buffers::{BadChain, Buffers};
use super::worker::{QueueHandler, QueueWorker, Ready, Watch, yield_turn};
use super::{Ring, RingError, Taken};
use crate::GuestRam;
use crate::io_thread::Worker;

/// Chains answered before other queues of the thread have their turn.
const TURN: usize = 64;

/// What answers the chains of a queue.
pub(crate) trait Responder: Send + 'static {
    /// What the queue is, in messages.
    const NAME: &'static str;

    /// Answers a chain; returns how many bytes were written to it.
    fn respond(&mut self, mem: &GuestRam, request: Result<&Buffers, BadChain>) -> u32;
}

/// Such a queue.
struct ResponderQueue<R> {
    ring: Ring,
    buffers: Buffers,
    responder: R,
}

/// A worker that lets `responder` answer what comes over `ring`.
pub(crate) fn responder(ring: Ring, responder: impl Responder) -> Box<dyn Worker> {
    QueueWorker::boxed(ResponderQueue { ring, buffers: Buffers::default(), responder })
}

impl<R: Responder> ResponderQueue<R> {
    fn serve(&mut self) -> Result<(), RingError> {
        self.ring.disable_notification()?;
        for _ in 0..TURN {
            let Some(Taken { head, form }) = self.ring.take(&mut self.buffers)? else {
                self.ring.notify()?;
                if self.ring.enable_notification()? {
                    continue;
                }
                return Ok(());
            };
            let request = form.map(|()| &self.buffers);
            let written = self.responder.respond(self.ring.mem(), request);
            self.ring.push_used(head, written)?;
        }
        yield_turn(&self.ring);
        self.ring.notify()
    }
}

impl<R: Responder> QueueHandler for ResponderQueue<R> {
    const NAME: &'static str = R::NAME;

    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn start(&mut self, _watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.serve()
    }

    fn wake(&mut self, _ready: Ready, _watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.serve()
    }
}
