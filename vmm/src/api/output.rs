//! What waits for a client to read it.

use std::io::{self, Write};
use std::time::Instant;

use super::limits;

/// Bytes that are to be sent.
#[derive(Debug)]
pub(super) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// When the client last took something, or did not have to.
    moved: Instant,
}

impl Output {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), sent: 0, moved: Instant::now() }
    }

    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether so much waits that nothing should be added.
    pub(super) fn is_full(&self) -> bool {
        self.waiting() >= limits::WAITING
    }

    /// Where to add bytes.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        if self.waiting() == 0 {
            self.moved = Instant::now();
        }
        &mut self.bytes
    }

    /// When the client last took something.
    pub(super) fn moved(&self) -> Instant {
        self.moved
    }

    /// Sends what `to` takes without blocking.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) fn send(&mut self, mut to: impl Write) -> io::Result<()> {
        while self.waiting() > 0 {
            match to.write(self.bytes.get(self.sent..).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count;
                    self.moved = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.waiting() == 0 {
            // The memory goes, too: connections that idle cost nothing.
            self.bytes = Vec::new();
            self.sent = 0;
        } else if self.sent >= limits::WAITING {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }
}
