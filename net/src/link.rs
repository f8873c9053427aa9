//! What every kind of connection to the host's network offers.

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;

use crate::{IoBuf, Offloads};

/// A connection to the host's network, shared by all queues of a network card.
pub trait Link: Send + Sync + Debug {
    /// How many pairs of queues it has, at least 1.
    fn queue_pairs(&self) -> u16;

    /// Longest payload of a frame that the link carries, where it knows.
    fn mtu(&self) -> Option<u16>;

    /// What the link can do of frames that are not finished, both as sender and as receiver.
    fn offloads(&self) -> Offloads;

    /// Which unfinished frames the link may deliver from now on. It starts with none.
    ///
    /// # Errors
    /// What the host says; the set is as before.
    fn set_offloads(&self, wanted: Offloads) -> io::Result<()>;

    /// Lets only the first `pairs` queue pairs take part; the host spreads what arrives over those.
    ///
    /// # Errors
    /// What the host says.
    fn set_active_pairs(&self, pairs: u16) -> io::Result<()>;

    /// A handle of its own on queue pair `pair`, counted from 0.
    ///
    /// # Errors
    /// There is no such pair, or the host has no descriptor left.
    fn open_queue(&self, pair: u16) -> io::Result<Box<dyn FrameQueue>>;

    /// The file of queue pair `pair` that the kernel can move frames to and from by itself ([`crate::VhostNet`]); only
    /// taps have one.
    fn kernel_queue(&self, _pair: u16) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// One handle on a queue pair. Never blocks.
pub trait FrameQueue: Send {
    /// Readable while a frame waits, writable while one can be sent.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Another descriptor that becomes readable, again and again without being read, when there may be a frame to
    /// receive of which [`fd`](Self::fd) tells nothing. None for links that have no such frames.
    fn bell(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The bell rang; called before receiving.
    fn rang(&mut self) {}

    /// Receives one frame behind its header, scattered over `bufs` (at most [`crate::MAX_BUFS`]); returns their
    /// length together. What does not fit is cut off.
    ///
    /// # Errors
    /// `WouldBlock` if no frame waits.
    fn receive(&mut self, bufs: &[IoBuf]) -> io::Result<usize>;

    /// Sends one frame, gathered from `bufs`, which start with its header.
    ///
    /// # Errors
    /// `WouldBlock` if the host has no room now; anything else concerns this frame alone, which is lost.
    fn send(&mut self, bufs: &[IoBuf]) -> io::Result<()>;
}
