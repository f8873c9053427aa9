//! A link some of whose traffic is answered here: DHCP, router solicitations, and questions for neighbours.
//!
//! A queue looks at the first bytes of each frame that the guest sends. What is not asked of us goes on as it is,
//! without a copy. Answers wait in the outbox, and the first receive queue delivers them before what the link
//! brings; a bell tells it of them.

mod bell;
#[cfg(test)]
mod judges;
mod outbox;
mod report;
mod responder;
mod sniff;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

pub use report::{AnswersHandle, AnswersReport, Lease};

use self::bell::Bell;
use self::outbox::Outbox;
use self::responder::{Responder, Verdict};
use self::sniff::Interest;
use crate::dhcp::Answers;
use crate::{FrameQueue, IoBuf, Link, Offloads, gather, scatter};

/// Longest frame that is looked into; what is answered is shorter.
const LONGEST: usize = 2048;

/// A link behind which some things are answered here.
#[derive(Debug)]
pub struct Answered {
    link: Arc<dyn Link>,
    shared: Arc<Shared>,
}

/// What the queues have in common.
#[derive(Debug)]
struct Shared {
    interest: Interest,
    responder: Responder,
    outbox: Outbox,
    bell: Bell,
}

impl Answered {
    /// Answers what `answers` says in front of `link`.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub fn new(link: Arc<dyn Link>, answers: Answers) -> io::Result<Self> {
        let period = answers.advert.as_ref().map(|_| responder::ADVERT_PERIOD);
        let shared = Shared {
            interest: Interest::of(&answers),
            responder: Responder::new(answers),
            outbox: Outbox::default(),
            bell: Bell::new(period)?,
        };
        Ok(Self { link, shared: Arc::new(shared) })
    }

    /// A handle that outlives the link's move into its device.
    pub fn handle(&self) -> AnswersHandle {
        AnswersHandle(Arc::clone(&self.shared))
    }
}

impl Link for Answered {
    fn queue_pairs(&self) -> u16 {
        self.link.queue_pairs()
    }

    fn mtu(&self) -> Option<u16> {
        self.link.mtu()
    }

    fn offloads(&self) -> Offloads {
        self.link.offloads()
    }

    fn set_offloads(&self, wanted: Offloads) -> io::Result<()> {
        self.link.set_offloads(wanted)
    }

    fn set_active_pairs(&self, pairs: u16) -> io::Result<()> {
        self.link.set_active_pairs(pairs)
    }

    fn open_queue(&self, pair: u16) -> io::Result<Box<dyn FrameQueue>> {
        let queue = self.link.open_queue(pair)?;
        Ok(Box::new(AnsweredQueue { queue, delivers: pair == 0, shared: Arc::clone(&self.shared) }))
    }
}

/// A handle on one queue pair.
struct AnsweredQueue {
    queue: Box<dyn FrameQueue>,
    /// Answers arrive here: the first pair is the one that is always in use.
    delivers: bool,
    shared: Arc<Shared>,
}

impl FrameQueue for AnsweredQueue {
    fn fd(&self) -> BorrowedFd<'_> {
        self.queue.fd()
    }

    fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.delivers.then(|| self.shared.bell.fd())
    }

    fn rang(&mut self) {
        if let Some(advert) = self.shared.responder.due_advert() {
            self.shared.outbox.put(advert);
        }
    }

    fn receive(&mut self, bufs: &[IoBuf]) -> io::Result<usize> {
        if self.delivers
            && let Some(frame) = self.shared.outbox.take()
        {
            return Ok(scatter(bufs, 0, &frame));
        }
        self.queue.receive(bufs)
    }

    fn send(&mut self, bufs: &[IoBuf]) -> io::Result<()> {
        if self.shared.interest.covers(bufs) && self.shared.take(bufs) {
            return Ok(());
        }
        self.queue.send(bufs)
    }
}

impl Shared {
    /// Whether the frame was for us, and goes nowhere else.
    fn take(&self, bufs: &[IoBuf]) -> bool {
        // A copy: the guest may change its own while it is looked at.
        let mut frame = [0; LONGEST];
        let len = gather(bufs, 0, &mut frame);
        let whole = bufs.iter().map(IoBuf::len).fold(0, usize::saturating_add) == len;
        let frame = frame.get(..len).filter(|_| whole);
        match self.responder.look(frame) {
            Verdict::NotOurs => return false,
            Verdict::Taken => {}
            Verdict::Answered(answer) => {
                self.outbox.put(answer);
                self.bell.ring();
            }
        }
        true
    }
}
