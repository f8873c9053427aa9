//! A link over a unix stream socket, each frame behind its length in four bytes, big-endian: what passt(1) and QEMU's
//! `-netdev stream` speak.
//!
//! The peer does nothing of a frame's work, so there are no offloads. A connection that breaks is like a pulled cable:
//! frames are lost until there is another, which a thread of its own sees to.

mod line;
mod queue;
mod receiving;
mod sending;
mod sys;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use line::Peer;

use crate::{FrameQueue, Link, Offloads, socket};
use line::Line;
use queue::StreamQueue;

/// A link to a peer behind a stream socket.
#[derive(Debug)]
pub struct Stream {
    line: Arc<Line>,
    mtu: Option<u16>,
}

impl Stream {
    /// A link over a connection that there is. When it ends there will be no other.
    pub fn from_socket(socket: UnixStream) -> Self {
        Self { line: Line::new(None, socket), mtu: None }
    }

    /// Connects to the socket at `path`, and again whenever the connection breaks.
    ///
    /// # Errors
    /// Nobody listens there now.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Self::with_peer(Box::new(Listener(path.to_owned())), None)
    }

    /// Connects to `peer`, and again whenever the connection breaks. `mtu` is the longest payload of a frame, where the
    /// guest should be told of it.
    ///
    /// # Errors
    /// The peer's, at the first connection.
    pub fn with_peer(peer: Box<dyn Peer>, mtu: Option<u16>) -> io::Result<Self> {
        let socket = peer.connect()?;
        Ok(Self::over(peer, socket, mtu))
    }

    /// The same with a connection to `peer` that there is.
    pub(crate) fn over(peer: Box<dyn Peer>, socket: UnixStream, mtu: Option<u16>) -> Self {
        Self { line: Line::new(Some(peer), socket), mtu }
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.line.current().is_some()
    }

    /// How often the peer sent something that is no frame.
    pub fn dropped(&self) -> u64 {
        self.line.dropped.load(Ordering::Relaxed)
    }
}

/// A peer that listens at a path.
#[derive(Debug)]
struct Listener(PathBuf);

impl Peer for Listener {
    fn connect(&self) -> io::Result<UnixStream> {
        socket::connect(&self.0)
    }
}

impl Link for Stream {
    fn queue_pairs(&self) -> u16 {
        1
    }

    fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }

    fn set_offloads(&self, wanted: Offloads) -> io::Result<()> {
        if wanted == Offloads::NONE { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn set_active_pairs(&self, _pairs: u16) -> io::Result<()> {
        Ok(())
    }

    fn open_queue(&self, pair: u16) -> io::Result<Box<dyn FrameQueue>> {
        if pair != 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(StreamQueue::new(Arc::clone(&self.line))?))
    }
}
