//! Memory that follows its machine: served from here after the machine was handed over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use devices::{GuestRam, say};
use ram::PAGE;
use vm_memory::{Bytes, GuestAddress};

use super::super::bandwidth::Bandwidth;
use super::super::ownership::SourceEvent as Event;
use super::super::transport::Stream;
use super::super::wire::{Message, Reader, Session, Writer};
use super::{Departure, Phase};
use crate::demand::{Connection, Rest, Service, Shelf, pages_together, serve};
use crate::dirty::PageSet;
use crate::pauses::Pauses;

/// How often it is told how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// What serving one connection came to.
type Ended = Result<(), String>;

/// Pages that the destination does not have when it gets the machine.
pub(super) struct Behind {
    ram: GuestRam,
    pages: PageSet,
    bandwidth: Option<Bandwidth>,
    /// Bytes that were sent.
    sent: Arc<AtomicU64>,
    ended: Receiver<Ended>,
    cut: Stream,
}

impl Behind {
    /// Begins to serve these pages of `ram`, which nothing changes any more, over a new connection of the session.
    pub(super) fn begin(
        stream: Stream,
        session: &Session,
        ram: GuestRam,
        pages: PageSet,
        bandwidth: Option<Bandwidth>,
    ) -> Result<Self, String> {
        let sent = Arc::default();
        let (cut, ended) = spawn(stream, session, &ram, &pages, bandwidth.clone(), &sent)?;
        Ok(Self { ram, pages, bandwidth, sent, ended, cut })
    }

    /// The same pages over another connection.
    fn again(&mut self, stream: Stream, session: &Session) -> Result<(), String> {
        let (cut, ended) =
            spawn(stream, session, &self.ram, &self.pages, self.bandwidth.clone(), &self.sent)?;
        (self.cut, self.ended) = (cut, ended);
        Ok(())
    }

    /// Bytes that have not been sent, as far as that is known.
    fn left(&self) -> u64 {
        let all = self.pages.len().saturating_mul(PAGE as u64);
        all.saturating_sub(self.sent.load(Ordering::Relaxed))
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.cut.cut();
    }
}

/// Serves pages on a thread of its own; something that ends the connection, and what comes of it.
fn spawn(
    stream: Stream,
    session: &Session,
    ram: &GuestRam,
    pages: &PageSet,
    bandwidth: Option<Bandwidth>,
    sent: &Arc<AtomicU64>,
) -> Result<(Stream, Receiver<Ended>), String> {
    let lost = |error: io::Error| format!("the connection for the rest of the memory: {error}");
    let cut = stream.try_clone().map_err(lost)?;
    let reader = Reader::new(stream.try_clone().map_err(lost)?);
    let mut writer = Writer::new(stream.try_clone().map_err(lost)?);
    writer.write(&Message::Serve(session.clone())).map_err(|error| devices::chain(&error))?;
    let connection = Connection::greeted(reader, writer, stream).map_err(lost)?;
    let mut shelf = Kept { ram: ram.clone(), pages: pages.clone() };
    // What is waited for goes alone: the connection may be slow.
    let service = Service { rest: Rest::AtOnce, window: 1, bandwidth, ..Service::default() };
    let (sender, ended) = mpsc::sync_channel(1);
    let sent = Arc::clone(sent);
    let serving = move || {
        let served = serve(connection, &mut shelf, service, &mut |bytes| {
            sent.fetch_add(bytes, Ordering::Relaxed);
        });
        // Nobody wants to know any more if the machine has stayed.
        let _ = sender.send(served.ended);
    };
    thread::Builder::new().name("pages-behind".into()).stack_size(256 << 10).spawn(serving).map_err(lost)?;
    Ok((cut, ended))
}

/// The memory of a machine that stands still.
struct Kept {
    ram: GuestRam,
    pages: PageSet,
}

impl Shelf for Kept {
    fn holds(&mut self) -> Result<PageSet, String> {
        Ok(self.pages.clone())
    }

    fn read(&mut self, start: GuestAddress, page: &mut [u8]) -> Result<(), String> {
        self.ram.read_slice(page, start).map_err(|error| error.to_string())
    }
}

impl Departure<'_> {
    /// Has these pages follow the machine, and all others of their huge pages.
    pub(super) fn leave_behind(&mut self, mut pages: PageSet) -> Result<(), String> {
        pages.make_whole(pages_together(&self.ram));
        let stream =
            (self.dial)().map_err(|error| format!("a connection for the rest of the memory: {error}"))?;
        self.cancel.watch(stream.try_clone().map_err(|error| error.to_string())?);
        let bandwidth = self.rounds.bandwidth().map(Bandwidth::new);
        self.behind = Some(Behind::begin(stream, &self.session, self.ram.clone(), pages, bandwidth)?);
        Ok(())
    }

    /// Serves what the destination lacks until it has all, whatever becomes of connections.
    pub(super) fn serve(&mut self) -> Event {
        let mut calls = Calls::default();
        let mut told = String::new();
        let before = self.progress.sent;
        loop {
            let Some(behind) = &self.behind else { return Event::Served };
            self.progress.left = behind.left();
            let ended = behind.ended.recv_timeout(LOOK);
            self.progress.sent = before.saturating_add(behind.sent.load(Ordering::Relaxed));
            self.note(Phase::Serving);
            let why = match ended {
                Ok(Ok(())) => return Event::Served,
                Err(RecvTimeoutError::Timeout) => continue,
                Ok(Err(why)) => why,
                Err(RecvTimeoutError::Disconnected) => "its thread has died".into(),
            };
            if why != told {
                say!("kubevmm: the destination, which needs more of the memory, is called again: {why}");
                told = why;
            }
            loop {
                thread::sleep(calls.pause(self.progress.sent));
                let called = (self.dial)().map_err(|error| error.to_string());
                let Some(behind) = &mut self.behind else { return Event::Served };
                if called.and_then(|stream| behind.again(stream, &self.session)).is_ok() {
                    break;
                }
            }
        }
    }
}

/// Calls after a connection was lost.
struct Calls {
    pauses: Pauses,
    /// What had been sent at the last one.
    sent: u64,
}

impl Default for Calls {
    fn default() -> Self {
        Self { pauses: Pauses::CALLS, sent: 0 }
    }
}

impl Calls {
    /// The pause before the next one, where so much has been sent: the shortest again after a connection that has sent something. One
    /// that is taken, and lost at once, has not worked.
    fn pause(&mut self, sent: u64) -> Duration {
        if sent > std::mem::replace(&mut self.sent, sent) {
            self.pauses = Pauses::CALLS;
        }
        self.pauses.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_connection_that_worked_pauses_begin_anew() {
        let mut calls = Calls::default();
        let ms = [0, 0, 0, 4096, 4096, 8192].map(|sent| calls.pause(sent).as_millis());
        assert_eq!(ms, [50, 100, 200, 50, 100, 50]);
    }
}
