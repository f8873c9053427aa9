//! The side that has the pages.

use std::thread;
use std::time::{Duration, Instant};

use devices::chain;
use ram::PAGE;
use vm_memory::GuestAddress;

use super::ALIVE;
use super::agenda::{Agenda, Next};
use super::connection::{Connection, receive_lacks, send};
use crate::dirty::{PageRun, PageSet};
use crate::migration::bandwidth::Bandwidth;
use crate::migration::transport::Stream;
use crate::migration::wire::{Batch, Message, Reader, WireError};

/// Where pages are.
pub trait Shelf {
    /// Those that can be had. All others are zero, or are where they are needed already.
    ///
    /// # Errors
    /// Why it cannot be told, for people.
    fn holds(&mut self) -> Result<PageSet, String>;

    /// Fills `page` with the page at `start`, which is one of those.
    ///
    /// # Errors
    /// Why it cannot be had, for people.
    fn read(&mut self, start: GuestAddress, page: &mut [u8]) -> Result<(), String>;
}

/// When pages are sent that nobody waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// Whenever nobody waits.
    #[default]
    AtOnce,
    /// When nobody has waited for so long: until then it shows which pages are needed.
    AfterQuiet(Duration),
}

/// How pages are served.
#[derive(Debug)]
pub struct Service {
    /// These pages go before others that nobody waits for.
    pub first: Vec<PageRun>,
    /// When others go.
    pub rest: Rest,
    /// Pages around one that somebody waits for, which go with it.
    pub window: u64,
    /// Limit for pages that nobody waits for.
    pub bandwidth: Option<Bandwidth>,
}

impl Default for Service {
    fn default() -> Self {
        Self { first: Vec::new(), rest: Rest::AtOnce, window: 16, bandwidth: None }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The other side has all pages, or else why not.
    pub ended: Result<(), String>,
    /// Pages that were waited for, in that order.
    pub touched: Vec<PageRun>,
    /// The other side lacked all that is here, so that those are what it needed first.
    pub from_start: bool,
    /// Bytes that were sent.
    pub sent: u64,
}

impl Served {
    fn not(why: String) -> Self {
        Self::at_once(Err(why))
    }

    /// Nothing was sent.
    fn at_once(ended: Result<(), String>) -> Self {
        Self { ended, touched: Vec::new(), from_start: false, sent: 0 }
    }
}

/// Serves the pages of `shelf` until the other side has all that it lacks, or is gone. `note` is told how many bytes went since it was told last.
pub fn serve(
    connection: Connection,
    shelf: &mut dyn Shelf,
    mut service: Service,
    note: &mut dyn FnMut(u64),
) -> Served {
    let Connection { mut reader, mut writer, cut } = connection;
    let holds = match shelf.holds() {
        Ok(holds) => holds,
        Err(why) => {
            // If it does not arrive, the connection's end says the same.
            let _ = writer.write(&Message::Failed(why.clone()));
            return Served::not(why);
        }
    };
    if let Err(error) = send(&mut writer, &holds, Message::Holds) {
        return Served::not(chain(&error));
    }
    let lacks = match receive_lacks(&mut reader, &holds) {
        Ok(Some(lacks)) => lacks,
        Ok(None) => return Served::at_once(Ok(())),
        Err(why) => return Served::not(why),
    };
    let from_start = lacks == holds;
    let agenda = Agenda::new(lacks, &service);
    let mut sent = 0;
    let ended = thread::scope(|scope| {
        let listener = thread::Builder::new().name("pages-asked".into()).stack_size(128 << 10);
        if let Err(error) = listener.spawn_scoped(scope, || agenda.end(listen(&mut reader, &agenda))) {
            return Err(format!("no thread could be started: {error}"));
        }
        let mut writer = writer;
        let begun = Instant::now();
        // Until then nothing is sent that nobody waits for.
        let mut rest_from = begun;
        let mut batch = Batch::default();
        let ended = loop {
            let written = match agenda.next(ALIVE, rest_from) {
                Next::Over(how) => break how,
                Next::Quiet => writer.write(&Message::Alive).map(|()| 0),
                Next::Send(run) => {
                    batch.clear();
                    if let Err(why) = fill(&mut batch, shelf, run) {
                        // As above.
                        let _ = writer.write(&Message::Failed(why.clone()));
                        break Err(why);
                    }
                    let written = writer.write_pages(&batch);
                    if let (Ok(bytes), Some(limit)) = (&written, &mut service.bandwidth) {
                        rest_from = Instant::now() + limit.sent(*bytes, begun.elapsed());
                    }
                    written
                }
            };
            match written {
                Ok(bytes) => {
                    sent += bytes;
                    note(bytes);
                }
                Err(error) => break Err(chain(&error)),
            }
        };
        cut.cut();
        ended
    });
    Served { ended, touched: agenda.touched(), from_start, sent }
}

/// Hears what the other side asks for, until it has all, or is gone.
fn listen(reader: &mut Reader<Stream>, agenda: &Agenda) -> Result<(), String> {
    loop {
        match reader.read() {
            Ok(Message::Want(pages)) => agenda.want(&pages),
            Ok(Message::Alive) => {}
            Ok(Message::Complete) => return Ok(()),
            Ok(Message::Failed(why)) => return Err(why),
            Ok(_) => return Err(chain(&WireError::Unexpected("something else than a wish for pages"))),
            Err(error) => return Err(chain(&error)),
        }
    }
}

fn fill(batch: &mut Batch, shelf: &mut dyn Shelf, run: PageRun) -> Result<(), String> {
    for number in 0..run.pages {
        let start = run.start.0.saturating_add(number.saturating_mul(PAGE as u64));
        batch.add(start, 1, |page| shelf.read(GuestAddress(start), page))?;
    }
    Ok(())
}
