//! A link's queues, working on guest memory directly.
#![expect(
    unsafe_code,
    reason = "the link works on guest memory itself; this is where its addresses are vouched for"
)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use ::net::{FrameQueue, IoBuf, MAX_BUFS};

use super::config::MAX_FRAME;
use crate::GuestRam;
use crate::virtio::buffers::{BadChain, Segment, host_pieces, usize_len};

/// Appends the host's view of the segments to `bufs`; on an error nothing.
fn append(mem: &GuestRam, segments: &[Segment], bufs: &mut Vec<IoBuf>) -> Result<(), BadChain> {
    let before = bufs.len();
    let result = segments.iter().try_for_each(|segment| {
        host_pieces(mem, *segment, |address, len| {
            // SAFETY: the piece is guest RAM, mapped readable and writable for as long as the port's `mem` lives,
            // and buffers never leave the port; RAM is only ever reached through raw pointers.
            bufs.push(unsafe { IoBuf::from_raw(address, len) });
        })
    });
    if result.is_err() {
        bufs.truncate(before);
    }
    result
}

/// The sending side.
pub(super) struct TxPort {
    queue: Box<dyn FrameQueue>,
    mem: GuestRam,
    bufs: Vec<IoBuf>,
}

/// Why a frame was not sent.
#[derive(Debug)]
pub(super) enum SendError {
    /// There is no room now.
    Busy,
    /// The host does not take this frame.
    Refused,
    /// The driver's chain is not in RAM.
    Chain,
}

impl TxPort {
    pub(super) fn new(queue: Box<dyn FrameQueue>, mem: GuestRam) -> Self {
        Self { queue, mem, bufs: Vec::new() }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.queue.fd().as_raw_fd()
    }

    /// Sends the frame that the segments hold, with its header.
    pub(super) fn send(&mut self, frame: &[Segment]) -> Result<(), SendError> {
        self.bufs.clear();
        append(&self.mem, frame, &mut self.bufs).map_err(|_| SendError::Chain)?;
        loop {
            match self.queue.send(&self.bufs) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(SendError::Busy),
                Err(_) => return Err(SendError::Refused),
            }
        }
    }
}

/// The receiving side: guest buffers wait here for frames, in order.
pub(super) struct RxPort {
    queue: Box<dyn FrameQueue>,
    mem: GuestRam,
    bufs: Vec<IoBuf>,
    /// Buffers before this one are used up.
    first: usize,
    /// Takes the end of a frame for which too few buffers wait. Made when it is first needed.
    spill: Vec<u8>,
}

impl RxPort {
    pub(super) fn new(queue: Box<dyn FrameQueue>, mem: GuestRam) -> Self {
        Self { queue, mem, bufs: Vec::new(), first: 0, spill: Vec::new() }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.queue.fd().as_raw_fd()
    }

    /// What rings when frames wait that the descriptor does not tell of.
    pub(super) fn bell(&self) -> Option<RawFd> {
        self.queue.bell().map(|bell| bell.as_raw_fd())
    }

    pub(super) fn rang(&mut self) {
        self.queue.rang();
    }

    /// Whether `count` more pieces of memory can wait, with one to spare.
    pub(super) fn has_room(&self, count: usize) -> bool {
        self.bufs.len() - self.first + count < MAX_BUFS
    }

    /// Lets the segments wait for a frame; returns how many buffers they are.
    pub(super) fn post(&mut self, segments: &[Segment]) -> Result<usize, BadChain> {
        if self.first > MAX_BUFS {
            self.bufs.drain(..self.first);
            self.first = 0;
        }
        let before = self.bufs.len();
        append(&self.mem, segments, &mut self.bufs)?;
        let count = self.bufs.len() - before;
        // Segments may span regions of RAM and become more buffers than there is room for.
        if self.has_room(0) {
            return Ok(count);
        }
        self.bufs.truncate(before);
        Err(BadChain::TooLong)
    }

    /// Forgets the first `count` waiting buffers.
    pub(super) fn consume(&mut self, count: usize) {
        self.first = self.first.saturating_add(count).min(self.bufs.len());
        if self.first == self.bufs.len() {
            self.bufs.clear();
            self.first = 0;
        }
    }

    /// Receives a frame into the waiting buffers, and the rest of it into the spill if `spill` is set.
    pub(super) fn receive(&mut self, spill: bool) -> io::Result<usize> {
        if spill {
            self.spill.resize(usize_len(MAX_FRAME), 0);
            // SAFETY: the spill is not touched otherwise until the buffer is taken off again below.
            self.bufs.push(unsafe { IoBuf::from_raw(self.spill.as_mut_ptr(), self.spill.len()) });
        }
        let received = loop {
            match self.queue.receive(self.bufs.get(self.first..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        if spill {
            self.bufs.pop();
        }
        received
    }

    /// What the last frame left in the spill.
    pub(super) fn spill(&self) -> &[u8] {
        &self.spill
    }
}
