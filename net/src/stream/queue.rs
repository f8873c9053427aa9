//! One handle on a line.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::line::{Connection, Line, locked};
use super::sys::{Bell, Ready};
use crate::{FrameQueue, IoBuf};

/// A handle on the one queue pair. As `FrameQueue` has it, one handle is for one direction.
#[derive(Debug)]
pub(super) struct StreamQueue {
    line: Arc<Line>,
    /// The connection as of `changes`.
    connection: Option<Arc<Connection>>,
    changes: u64,
    /// Readable while a frame waits or the connection has changed: the same descriptor for all connections.
    ready: Ready,
    bell: Arc<Bell>,
    /// The connection that had no room for a frame, until the next frame is sent.
    busy: Option<Arc<Connection>>,
}

impl StreamQueue {
    pub(super) fn new(line: Arc<Line>) -> io::Result<Self> {
        let (ready, bell) = (Ready::new()?, Arc::new(Bell::new()?));
        ready.add(bell.fd())?;
        line.tell(&bell);
        let mut queue = Self { line, connection: None, changes: 0, ready, bell, busy: None };
        queue.look();
        Ok(queue)
    }

    /// Takes over what has changed.
    fn look(&mut self) {
        let changes = self.line.changes();
        if changes == self.changes {
            return;
        }
        self.bell.silence();
        self.changes = changes;
        if let Some(old) = self.connection.take() {
            let _ = self.ready.remove(old.fd());
        }
        // Should the kernel have no room to watch it, the connection is of no use.
        self.connection = self.line.current().filter(|connection| self.ready.add(connection.fd()).is_ok());
    }

    /// Passes on what came of an attempt; what ends a connection has it replaced.
    fn judge<T>(&self, connection: &Arc<Connection>, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            let passes = matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::InvalidInput
            );
            // Out of memory for a moment: nothing was sent.
            let short = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM));
            if !passes && !short {
                self.line.lost(connection);
            }
        }
        result
    }
}

impl FrameQueue for StreamQueue {
    fn fd(&self) -> BorrowedFd<'_> {
        self.busy.as_ref().map_or(self.ready.fd(), |connection| connection.fd())
    }

    fn receive(&mut self, bufs: &[IoBuf]) -> io::Result<usize> {
        loop {
            self.look();
            let Some(connection) = self.connection.clone() else {
                return Err(io::ErrorKind::WouldBlock.into());
            };
            let mut receiving = locked(&connection.receiving);
            let before = receiving.dropped;
            let result = receiving.receive(connection.fd(), bufs);
            self.line.dropped.fetch_add(receiving.dropped - before, Ordering::Relaxed);
            drop(receiving);
            match self.judge(&connection, result) {
                // There may be another by now.
                Err(error)
                    if error.kind() != io::ErrorKind::WouldBlock && self.changes != self.line.changes() => {}
                result => return result,
            }
        }
    }

    fn send(&mut self, bufs: &[IoBuf]) -> io::Result<()> {
        self.look();
        self.busy = None;
        let Some(connection) = self.connection.clone() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let result = locked(&connection.sending).send(connection.fd(), bufs);
        let result = self.judge(&connection, result);
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.busy = Some(connection);
        }
        result
    }
}
