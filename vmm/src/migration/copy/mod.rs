//! Guest memory into batches of pages, and back.

mod put;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use devices::GuestRam;
use ram::PAGE;
use vm_memory::{Bytes, GuestAddress};

pub(super) use self::put::put;
use super::bandwidth::Bandwidth;
use super::storage::Part;
use super::wire::{Batch, Message, Round, WireError, Writer};
use crate::dirty::{PageRun, PageSet};

/// Pages of a set are looked at in pieces of this many: those of a huge page, which the destination gets whole, and zeroes, for the first
/// one of them. Two connections would have it do that twice.
const STRIDE: u64 = 512;
/// [`PAGE`], as addresses count.
const PAGE_BYTES: u64 = PAGE as u64;

/// Bytes of stack of a thread that copies: batches are on the heap.
const STACK: usize = 128 << 10;

/// What copying took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Bytes on the wire.
    pub(super) sent: u64,
    /// How long the connection, or the limit on it, took for them.
    pub(super) sending: Duration,
    /// Pages that were looked at.
    pub(super) pages: u64,
    /// Those of them that had nothing but zeroes in them.
    pub(super) zero: u64,
}

impl Copied {
    /// This and what another connection did at the same time.
    fn beside(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            sending: self.sending.max(other.sending),
            pages: self.pages + other.pages,
            zero: self.zero + other.zero,
        }
    }
}

/// Copying was broken off.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("connection {number} was lost{}", said.as_ref().map(|said| format!(": the destination has given up: {said}")).unwrap_or_default())]
    Lane { number: usize, said: Option<String>, source: WireError },
    #[error("guest memory could not be read")]
    Memory(#[source] vm_memory::GuestMemoryError),
    #[error("a disk could not be read")]
    Disk(#[from] io::Error),
    #[error("no thread could be had to copy memory")]
    Host(#[source] io::Error),
    #[error("it was broken off")]
    Cancelled,
}

/// A limit on bytes a second of all connections together.
pub(super) struct Pace {
    bandwidth: Mutex<Bandwidth>,
    since: Instant,
}

impl Pace {
    pub(super) fn new(bandwidth: Bandwidth) -> Self {
        Self { bandwidth: Mutex::new(bandwidth), since: Instant::now() }
    }

    /// Waits until more may be sent than these bytes, which have been.
    fn keep(&self, sent: u64) {
        let mut bandwidth = self.bandwidth.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = bandwidth.sent(sent, self.since.elapsed());
        drop(bandwidth);
        std::thread::sleep(pause);
    }
}

/// A connection besides the first.
pub(super) struct Lane<W> {
    to: Writer<W>,
    batch: Batch,
    /// What the destination has said there, once it cannot be written to.
    last_words: Box<dyn FnMut() -> Option<String> + Send>,
}

impl<W: Write> Lane<W> {
    pub(super) fn new(to: Writer<W>, last_words: impl FnMut() -> Option<String> + Send + 'static) -> Self {
        Self { to, batch: Batch::default(), last_words: Box::new(last_words) }
    }

    /// An error of this connection, as the whole has it.
    fn lost(&mut self, number: usize, error: CopyError) -> CopyError {
        match error {
            CopyError::Wire(source) => CopyError::Lane { number, said: (self.last_words)(), source },
            error => error,
        }
    }
}

/// Sends pages.
pub(super) struct Sender<W> {
    /// The first connection, by which all else is said as well.
    pub(super) to: Writer<W>,
    batch: Batch,
    others: Vec<Lane<W>>,
    pace: Option<Pace>,
}

/// What is to be copied, as all connections share it.
struct Work<'a> {
    ram: &'a GuestRam,
    runs: Mutex<&'a mut (dyn Iterator<Item = PageRun> + Send)>,
    pace: Option<&'a Pace>,
    is_cancelled: &'a (dyn Fn() -> bool + Sync),
    /// One of them does not do; the others need not go on.
    is_broken: AtomicBool,
}

impl<W: Write + Send> Sender<W> {
    pub(super) fn new(to: Writer<W>, others: Vec<Lane<W>>, pace: Option<Pace>) -> Self {
        Self { to, batch: Batch::default(), others, pace }
    }

    /// Sends all pages of `set`, unless `is_cancelled` says otherwise.
    pub(super) fn send(
        &mut self,
        ram: &GuestRam,
        set: &PageSet,
        is_cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Copied, CopyError> {
        let Self { to, batch, others, pace } = self;
        let mut runs = set.runs(STRIDE);
        let work = Work {
            ram,
            runs: Mutex::new(&mut runs),
            pace: pace.as_ref(),
            is_cancelled,
            is_broken: AtomicBool::new(false),
        };
        let work = &work;
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (number, lane) in (2..).zip(others) {
                let copy = move || {
                    work.copy(&mut lane.to, &mut lane.batch).map_err(|error| lane.lost(number, error))
                };
                let thread = thread::Builder::new().name("migrate".into()).stack_size(STACK);
                match thread.spawn_scoped(scope, copy) {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        work.is_broken.store(true, Ordering::Relaxed);
                        return Err(CopyError::Host(error));
                    }
                }
            }
            let mut all = work.copy(to, batch);
            for thread in threads {
                let copied = thread.join().unwrap_or(Err(CopyError::Cancelled));
                all = match (all, copied) {
                    (Ok(all), Ok(copied)) => Ok(all.beside(copied)),
                    // What a connection was broken off for tells more than that it was.
                    (Err(CopyError::Cancelled), Err(error)) | (Err(error), _) | (_, Err(error)) => Err(error),
                };
            }
            all
        })
    }

    /// Sends a part of a disk, by the first connection, and empties the batch; gives back the bytes that it took.
    pub(super) fn send_blocks(&mut self, part: Part, batch: &mut Batch) -> Result<u64, CopyError> {
        let sent = self.to.write_blocks(part, batch)?;
        batch.clear();
        if let Some(pace) = &self.pace {
            pace.keep(sent);
        }
        Ok(sent)
    }

    /// Says on all connections that a round is over; on the first one last.
    pub(super) fn mark(&mut self, round: Round) -> Result<(), CopyError> {
        let message = Message::Round(round);
        for (number, lane) in (2..).zip(&mut self.others) {
            if let Err(error) = lane.to.write(&message) {
                return Err(lane.lost(number, error.into()));
            }
        }
        Ok(self.to.write(&message)?)
    }
}

impl Work<'_> {
    /// Sends pieces of the whole over one connection until none are left.
    fn copy<W: Write>(&self, to: &mut Writer<W>, batch: &mut Batch) -> Result<Copied, CopyError> {
        let copied = self.copy_all(to, batch);
        if copied.is_err() {
            self.is_broken.store(true, Ordering::Relaxed);
        }
        copied
    }

    fn copy_all<W: Write>(&self, to: &mut Writer<W>, batch: &mut Batch) -> Result<Copied, CopyError> {
        let mut copied = Copied::default();
        while let Some(run) = self.next() {
            if (self.is_cancelled)() || self.is_broken.load(Ordering::Relaxed) {
                return Err(CopyError::Cancelled);
            }
            let mut done = 0;
            while done < run.pages {
                let start = run.start.0.saturating_add(done * PAGE_BYTES);
                let pages =
                    usize::try_from(run.pages - done).map_or(batch.room(), |left| left.min(batch.room()));
                let read = |to: &mut [u8]| self.ram.read_slice(to, GuestAddress(start));
                copied.zero += batch.add(start, pages, read).map_err(CopyError::Memory)?;
                done += pages as u64;
                if batch.is_full() {
                    self.flush(to, batch, &mut copied)?;
                }
            }
            copied.pages += run.pages;
        }
        self.flush(to, batch, &mut copied)?;
        Ok(copied)
    }

    fn next(&self) -> Option<PageRun> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    fn flush<W: Write>(
        &self,
        to: &mut Writer<W>,
        batch: &mut Batch,
        copied: &mut Copied,
    ) -> Result<(), CopyError> {
        if batch.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let sent = to.write_pages(batch)?;
        batch.clear();
        if let Some(pace) = self.pace {
            pace.keep(sent);
        }
        copied.sent += sent;
        copied.sending += began.elapsed();
        Ok(())
    }
}
