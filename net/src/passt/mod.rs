//! The guest's network by passt(1): a program without any rights that does what the guest does with sockets of its own.
//!
//! It is a child of this process at the other end of a socket, and ends when the socket does, however this process ends.
//! (A signal at the parent's death, `PR_SET_PDEATHSIG`, would not do: it comes when the thread that started passt ends,
//! and passt, which changes its user, loses it.)

mod arguments;
mod error;
mod starter;
mod sys;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

pub use arguments::PasstPlan;
pub use error::PasstError;

use crate::{FrameQueue, Link, Offloads, Stream};
use starter::Starter;

/// A running passt. Should it end, another is started; it is stopped when this is dropped.
#[derive(Debug)]
pub struct Passt {
    stream: Stream,
    starter: Arc<Starter>,
}

impl Passt {
    /// Starts it in the calling thread's network namespace.
    ///
    /// # Errors
    /// The program is not there, or it ends at once: with what it says about that, such as ports that are taken.
    pub fn start(plan: &PasstPlan) -> Result<Self, PasstError> {
        let starter = Arc::new(Starter::new(plan));
        let socket = starter.start()?;
        let stream = Stream::over(Box::new(Arc::clone(&starter)), socket, plan.mtu);
        Ok(Self { stream, starter })
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.starter.pid()
    }

    /// Why it could not be started again, if that was so at the last attempt.
    pub fn problem(&self) -> Option<String> {
        self.starter.problem()
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        self.starter.end();
    }
}

impl Link for Passt {
    fn queue_pairs(&self) -> u16 {
        self.stream.queue_pairs()
    }

    fn mtu(&self) -> Option<u16> {
        self.stream.mtu()
    }

    fn offloads(&self) -> Offloads {
        self.stream.offloads()
    }

    fn set_offloads(&self, wanted: Offloads) -> io::Result<()> {
        self.stream.set_offloads(wanted)
    }

    fn set_active_pairs(&self, pairs: u16) -> io::Result<()> {
        self.stream.set_active_pairs(pairs)
    }

    fn open_queue(&self, pair: u16) -> io::Result<Box<dyn FrameQueue>> {
        self.stream.open_queue(pair)
    }
}
