//! A disk for tests that does nothing until it is told how its requests end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Condvar, Mutex};

use block::{Completion, Disk, DiskError, DiskInfo, DiskQueue, Request, SubmitError};

use super::request::kind;
use crate::virtio::testing::*;

const BODY: u64 = DATA + 0x1_0000;

/// Adds a request whose status byte starts as 0xee; returns head and place of the status.
pub(super) fn add_request(machine: &Machine, driver: &mut Driver, slot: u64, kind: u32) -> (u16, u64) {
    let header = DATA + slot * 0x100;
    machine.fill(header, &[&kind.to_le_bytes()[..], &[0; 12], &[0xee]].concat());
    let body = match kind {
        kind::IN => vec![inp(BODY, 512)],
        kind::OUT => vec![out(BODY, 512)],
        _ => Vec::new(),
    };
    let chain = [&[out(header, 16)][..], &body, &[inp(header + 16, 1)]].concat();
    (driver.add(&chain), header + 16)
}

/// What the test sees of a queue.
#[derive(Debug, Default)]
struct Seen {
    /// Requests that have not ended: token and kind.
    waiting: Vec<(u64, &'static str)>,
    ended: Vec<Completion>,
    /// How often submissions were handed over.
    pushes: usize,
    /// Flushes are not taken.
    refuses_flushes: bool,
}

#[derive(Debug)]
struct Inner {
    seen: Mutex<Seen>,
    changed: Condvar,
    /// Something arrives at the second with every completion.
    event: (UnixDatagram, UnixDatagram),
}

/// The disk, and the test's hold on it.
#[derive(Clone, Debug)]
pub(super) struct FakeDisk(Arc<Inner>);

impl FakeDisk {
    pub(super) fn new() -> Self {
        let event = UnixDatagram::pair().unwrap();
        Self(Arc::new(Inner { seen: Mutex::default(), changed: Condvar::new(), event }))
    }

    /// Requests that wait for their end.
    pub(super) fn waiting(&self) -> Vec<(u64, &'static str)> {
        self.0.seen.lock().unwrap().waiting.clone()
    }

    pub(super) fn pushes(&self) -> usize {
        self.0.seen.lock().unwrap().pushes
    }

    /// Takes no flush from now on.
    pub(super) fn refuse_flushes(&self) {
        self.0.seen.lock().unwrap().refuses_flushes = true;
    }

    /// Ends a request.
    pub(super) fn end(&self, token: u64, result: io::Result<u32>) {
        let mut seen = self.0.seen.lock().unwrap();
        let at = seen.waiting.iter().position(|(waiting, _)| *waiting == token).unwrap();
        seen.waiting.remove(at);
        seen.ended.push(Completion { token, result });
        self.0.changed.notify_all();
        self.0.event.0.send(&[1]).unwrap();
    }
}

impl Disk for FakeDisk {
    fn info(&self) -> DiskInfo {
        DiskInfo {
            size_bytes: 1 << 20,
            logical_block_size: 512,
            physical_block_size: 4096,
            read_only: false,
            discard: None,
            write_zeroes: None,
            rotational: None,
            write_cache: true,
        }
    }

    fn open_queue(&self, _depth: u16) -> Result<Box<dyn DiskQueue>, DiskError> {
        Ok(Box::new(FakeQueue(self.0.clone())))
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

struct FakeQueue(Arc<Inner>);

impl DiskQueue for FakeQueue {
    fn submit(&mut self, request: Request, token: u64) -> Result<(), SubmitError> {
        let kind = match request {
            Request::Read { .. } => "read",
            Request::Write { .. } => "write",
            Request::Flush => "flush",
            _ => "other",
        };
        let mut seen = self.0.seen.lock().unwrap();
        if kind == "flush" && seen.refuses_flushes {
            return Err(SubmitError::Full);
        }
        seen.waiting.push((token, kind));
        Ok(())
    }

    fn flush_submissions(&mut self) {
        self.0.seen.lock().unwrap().pushes += 1;
    }

    fn completion_fd(&self) -> BorrowedFd<'_> {
        self.0.event.1.as_fd()
    }

    fn acknowledge(&mut self) {}

    fn next_completion(&mut self) -> Option<Completion> {
        self.0.seen.lock().unwrap().ended.pop()
    }

    fn in_flight(&self) -> usize {
        let seen = self.0.seen.lock().unwrap();
        seen.waiting.len() + seen.ended.len()
    }

    fn wait(&mut self) {
        let seen = self.0.seen.lock().unwrap();
        drop(
            self.0
                .changed
                .wait_while(seen, |seen| seen.ended.is_empty() && !seen.waiting.is_empty())
                .unwrap(),
        );
    }
}
