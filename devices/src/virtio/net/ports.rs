//! A link's queues, working on guest memory directly.
#![expect(
    unsafe_code,
    reason = "the link works on guest memory itself; this is where its addresses are vouched for"
)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use ::net::{FrameQueue, HEADER_LEN, IoBuf, MAX_BUFS, gather};

use super::config::MAX_FRAME;
use super::header::{self, Header};
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
    /// The header, then what the driver's chain names.
    bufs: Vec<IoBuf>,
    /// The header as the host gets it.
    header: Box<Header>,
    /// Negotiated features, which decide on headers.
    features: u64,
}

/// Why a frame was not sent.
#[derive(Debug)]
pub(super) enum SendError {
    /// There is no room now.
    Busy,
    /// The host does not take this frame.
    Refused,
    /// The driver's chain is not in RAM, or its header makes no sense.
    Chain,
}

impl TxPort {
    pub(super) fn new(queue: Box<dyn FrameQueue>, mem: GuestRam, features: u64) -> Self {
        Self { queue, mem, bufs: Vec::new(), header: Box::default(), features }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.queue.fd().as_raw_fd()
    }

    /// Sends the frame that the segments hold, `len` bytes with its header.
    pub(super) fn send(&mut self, frame: &[Segment], len: u64) -> Result<(), SendError> {
        let first = self.prepare(frame, len).ok_or(SendError::Chain)?;
        let bufs = self.bufs.get(first..).unwrap_or_default();
        loop {
            match self.queue.send(bufs) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(SendError::Busy),
                Err(_) => return Err(SendError::Refused),
            }
        }
    }

    /// Collects the frame's buffers behind a checked copy of its header; returns which is the first of them.
    fn prepare(&mut self, frame: &[Segment], len: u64) -> Option<usize> {
        self.bufs.clear();
        self.bufs.push(IoBuf::empty());
        append(&self.mem, frame, &mut self.bufs).ok()?;
        let mut given = Header::default();
        gather(&self.bufs, 0, &mut given);
        *self.header = header::checked(&given, len - u64::from(HEADER_LEN), self.features)?;
        // SAFETY: the box stays where it is for as long as the port lives, and is not touched while it sends.
        let header = unsafe { IoBuf::from_raw(self.header.as_mut_ptr(), self.header.len()) };
        let mut left = usize_len(HEADER_LEN);
        let mut at = 0;
        while let Some(buf) = self.bufs.get_mut(at).filter(|_| left > 0) {
            let cut = left.min(buf.len());
            *buf = buf.skip(cut);
            left -= cut;
            at += usize::from(left > 0 || buf.is_empty());
        }
        // All before `at` is used up, the placeholder at least.
        let first = at.checked_sub(1)?;
        *self.bufs.get_mut(first)? = header;
        Some(first)
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

    /// Copies what the last frame received has from `offset` on, wherever that is.
    pub(super) fn peek(&self, offset: usize, to: &mut [u8]) {
        let bufs = self.bufs.get(self.first..).unwrap_or_default();
        let done = gather(bufs, offset, to);
        if let Some(rest) = to.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let before = bufs.iter().map(IoBuf::len).sum::<usize>();
            let spilled = self.spill.get((offset + done).saturating_sub(before)..).unwrap_or_default();
            rest.iter_mut().zip(spilled).for_each(|(to, from)| *to = *from);
        }
    }

    /// What the last frame left in the spill.
    pub(super) fn spill(&self) -> &[u8] {
        &self.spill
    }
}
