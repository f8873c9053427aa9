//! Frames of a guest's buffers into a stream of bytes.

use std::io;
use std::os::fd::BorrowedFd;

use super::receiving::FRAMES;
use super::sys::{self, PREFIX};
use crate::{HEADER_LEN, IoBuf, MAX_BUFS, gather};

const HEADER: usize = HEADER_LEN as usize;

/// What the connection owes the peer.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// The rest of a frame of which a part was sent.
    owed: Vec<u8>,
    /// The frame that the rest is of was not yet accepted from the device, which will come with it again.
    accept: Option<usize>,
    pieces: Vec<IoBuf>,
}

impl Sending {
    /// Sends one frame, without its virtio header.
    ///
    /// # Errors
    /// `WouldBlock`: the frame has to be offered again when the socket has room. `InvalidInput`: it is none, and is lost.
    /// Anything else ends the connection.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, bufs: &[IoBuf]) -> io::Result<()> {
        let total = bufs.iter().map(IoBuf::len).fold(0_usize, usize::saturating_add);
        let len = total.checked_sub(HEADER).filter(|len| FRAMES.contains(len) && bufs.len() <= MAX_BUFS);
        let len = len.ok_or(io::ErrorKind::InvalidInput)?;
        self.settle(socket)?;
        // A device that was reset in between comes with another frame, of another length most probably; if not, one is lost.
        if self.accept.take() == Some(len) {
            return Ok(());
        }
        let mut prefix = u32::try_from(len).map_err(io::Error::other)?.to_be_bytes();
        let sent = self.begin(socket, &mut prefix, bufs)?;
        if sent == PREFIX + len {
            return Ok(());
        }
        self.owed.extend(prefix.iter().skip(sent));
        let from = sent.saturating_sub(PREFIX);
        let begin = self.owed.len();
        self.owed.resize(begin + len - from, 0);
        gather(bufs, HEADER + from, self.owed.get_mut(begin..).unwrap_or_default());
        self.accept = Some(len);
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn begin(
        &mut self,
        socket: BorrowedFd<'_>,
        prefix: &mut [u8; PREFIX],
        bufs: &[IoBuf],
    ) -> io::Result<usize> {
        self.pieces.clear();
        // The place of the prefix.
        self.pieces.push(IoBuf::empty());
        let mut skip = HEADER;
        for buf in bufs {
            let rest = buf.skip(skip);
            skip = skip.saturating_sub(buf.len());
            // The last of too many pieces is sent as if the socket had no room for it.
            if !rest.is_empty() && self.pieces.len() < MAX_BUFS {
                self.pieces.push(rest);
            }
        }
        sys::send(socket, prefix, &mut self.pieces)
    }

    /// Sends what is owed.
    fn settle(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut sent = 0;
        let result = loop {
            match self.owed.get_mut(sent..) {
                Some(rest) if !rest.is_empty() => match sys::send_from(socket, rest) {
                    Ok(count) => sent += count,
                    Err(error) => break Err(error),
                },
                _ => break Ok(()),
            }
        };
        self.owed.drain(..sent.min(self.owed.len()));
        if self.owed.is_empty() {
            self.owed = Vec::new();
        }
        result
    }
}
