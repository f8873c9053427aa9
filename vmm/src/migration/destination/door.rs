//! Who calls, and whether the machine that is to come is the one here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use devices::{chain, say};

use super::super::facts::{Facts, compare};
use super::super::machine::random;
use super::super::options::Connections;
use super::super::source::PATIENCE;
use super::super::storage::Sinks;
use super::super::transport::{Caller, Callers, Listener, Place, Stream};
use super::super::wire::{
    FORMAT, Fate, Hello, Key, Message, OLDEST_FORMAT, Reader, Session, Welcome, WireError, Writer,
};
use super::super::witness::Witness;
use super::Incoming;
use super::cutter::Cutter;
use super::lanes::{Lane, Lanes, Lobby};
use super::ledger::Ledger;
use crate::demand::Connection;

/// How long nobody is let in when that did not work.
const RECOVER: Duration = Duration::from_millis(100);
/// How long a new connection may be silent.
const GREETING: Duration = Duration::from_secs(10);
/// How long a connection of a session may be silent: its first one is waited for.
const FOREVER: Duration = Duration::MAX;
/// Waits for a machine.
#[derive(Debug)]
pub struct Reception {
    ledger: Arc<Ledger>,
    greeted: Mutex<Receiver<Greeted>>,
    pages: Mutex<Option<Receiver<Connection>>>,
}

#[derive(Debug)]
struct Greeted {
    session: Session,
    lanes: Lanes,
    reader: Reader<Stream>,
    writer: Writer<Stream>,
    cut: Stream,
    cutter: Cutter,
    witness: Option<Witness>,
}

impl Reception {
    /// Waits at `listener` for the machine with these facts. That it has not run here is kept in `folder`.
    ///
    /// # Errors
    /// The host has no thread left for it.
    pub fn open(listener: Listener, facts: Facts, folder: &Path) -> io::Result<Self> {
        let ledger = Arc::new(Ledger::default());
        let (sender, greeted) = mpsc::sync_channel(1);
        let (pages, come) = mpsc::sync_channel(1);
        let door = Door {
            ledger: Arc::clone(&ledger),
            facts,
            sender,
            callers: Callers::default(),
            pages,
            lobby: Lobby::default(),
            folder: folder.to_owned(),
        };
        let door = Arc::new(door);
        thread::Builder::new().name("receive".into()).stack_size(128 << 10).spawn(move || {
            loop {
                match listener.accept() {
                    Ok(caller) => Door::admit(&door, caller),
                    // It went before it was looked at, or there are no descriptors left for the moment.
                    Err(_) => thread::sleep(RECOVER),
                }
            }
        })?;
        Ok(Self { ledger, greeted: Mutex::new(greeted), pages: Mutex::new(Some(come)) })
    }

    /// Waits for a source, for so long at most; `None` if none has come.
    pub fn greet(&self, limit: Duration) -> Option<Incoming> {
        let greeted = self.greeted.lock().unwrap_or_else(PoisonError::into_inner);
        let Greeted { session, lanes, reader, writer, cut, cutter, witness } =
            greeted.recv_timeout(limit).ok()?;
        // There is one session, so that nobody has taken them before.
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Incoming {
            ledger: Arc::clone(&self.ledger),
            session,
            lanes,
            pages,
            reader,
            writer,
            cut,
            cutter,
            disks: Sinks::default(),
            witness,
        })
    }

    /// Stays for a source that may not know that its machine will never run here.
    /// `is_over` is asked from time to time whether to go all the same.
    pub fn linger(&self, is_over: impl Fn() -> bool) {
        self.ledger.linger(is_over);
    }
}

/// What those who call share.
struct Door {
    ledger: Arc<Ledger>,
    facts: Facts,
    sender: SyncSender<Greeted>,
    callers: Callers,
    pages: SyncSender<Connection>,
    lobby: Lobby,
    folder: PathBuf,
}

impl Door {
    /// Looks at a connection on a thread of its own, unless there are too many.
    fn admit(door: &Arc<Self>, caller: Caller) {
        let Some(place) = caller.stream().ok().and_then(|stream| door.callers.enter(stream)) else { return };
        let own = Arc::clone(door);
        // Without a thread it is sent away.
        let _ = thread::Builder::new().name("caller".into()).stack_size(256 << 10).spawn(move || {
            if let Err(error) = own.hear(caller, place) {
                say!("kubevmm: a caller was sent away: {}", chain(&error));
            }
        });
    }

    fn hear(&self, caller: Caller, place: Place) -> Result<(), WireError> {
        let stream = caller.greet(Instant::now() + GREETING).map_err(WireError::Lost)?;
        stream.set_patience(GREETING).map_err(WireError::Lost)?;
        let cut = stream.try_clone().map_err(WireError::Lost)?;
        let mut reader = Reader::new(stream.try_clone().map_err(WireError::Lost)?);
        let mut writer = Writer::new(stream);
        let greeting = reader.read_greeting()?;
        // From here on it is not cut for somebody who comes later.
        drop(place);
        match greeting {
            Message::Ask(session) => {
                let Some(fate) = self.ledger.answer(&session) else {
                    return writer.write(&Message::Failed("nothing is known of that session here".into()));
                };
                writer.write(&Message::Fate(fate))?;
                // One that is open still is not known to anybody.
                if let Ok(Message::Settled) = reader.read()
                    && fate != Fate::Open
                {
                    self.ledger.settle();
                }
                Ok(())
            }
            Message::Hello(hello) => {
                // Nothing may fail between taking the session and handing it on: nobody else could come any more.
                cut.set_patience(PATIENCE).map_err(WireError::Lost)?;
                let key = Key::new(random().map_err(WireError::Lost)?);
                let cutter = Cutter::new(cut.try_clone().map_err(WireError::Lost)?);
                match self.examine(&hello) {
                    Ok(format) => {
                        // Without a witness there are fewer cases in which a source knows what became of its machine.
                        let (witness, testimony) = Witness::leave(&self.folder, &hello.session).ok().unzip();
                        let connections = hello.connections.clamp(1, Connections::MOST);
                        let lanes = self.lobby.open(key.clone(), connections - 1);
                        let told =
                            writer.write(&Message::Welcome(Welcome { format, connections, key, testimony }));
                        // One that has gone meanwhile is missed by whoever waits for its machine. Nobody does if the
                        // process is about to end.
                        let session = hello.session;
                        let greeted = Greeted { session, lanes, reader, writer, cut, cutter, witness };
                        let _ = self.sender.send(greeted);
                        told
                    }
                    Err(why) => {
                        say!("kubevmm: a machine was refused: {why}");
                        writer.write(&Message::Refused(why))
                    }
                }
            }
            Message::Serve(session) => {
                if !self.ledger.awaits_memory(&session) {
                    return writer
                        .write(&Message::Failed("no memory of that machine is missing here".into()));
                }
                let connection = Connection::greeted(reader, writer, cut).map_err(WireError::Lost)?;
                match self.pages.try_send(connection) {
                    // One more than can be used calls again.
                    Ok(()) | Err(TrySendError::Full(_)) => {}
                    // Who has needed memory is gone: all has come, or the machine is another one.
                    Err(TrySendError::Disconnected(connection)) => connection.say_complete(),
                }
                Ok(())
            }
            Message::Join(key) => {
                // Between rounds it is silent for as long as the first connection has to do.
                cut.set_patience(FOREVER).map_err(WireError::Lost)?;
                self.lobby.enter(&key, Lane { reader, writer, cut })
            }
            _ => Err(WireError::Unexpected("something else than a greeting")),
        }
    }

    /// Whether this machine can come; the format to speak.
    fn examine(&self, hello: &Hello) -> Result<u32, String> {
        if hello.oldest > FORMAT || hello.format < OLDEST_FORMAT || hello.oldest > hello.format {
            return Err(format!(
                "it speaks formats {} to {}, here are {OLDEST_FORMAT} to {FORMAT}",
                hello.oldest, hello.format
            ));
        }
        compare(&hello.facts, &self.facts).map_err(|error| error.to_string())?;
        if !self.ledger.claim(&hello.session) {
            return Err("another one is on its way here already".into());
        }
        Ok(hello.format.min(FORMAT))
    }
}
