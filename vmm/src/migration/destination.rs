//! The destination's side of a migration, from the first byte to a machine that runs.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use devices::{GuestRam, chain, say};

use super::copy;
use super::facts::{Facts, compare};
use super::ownership::{Destination, DestinationEvent as Event, DestinationOrder as Order};
use super::source::PATIENCE;
use super::transport::{Listener, Stream};
use super::wire::{FORMAT, Fate, Hello, Message, OLDEST_FORMAT, Reader, Session, WireError, Writer};

/// Connections that may be looked at at once.
const MOST_CALLERS: usize = 8;
/// How long a new connection may be silent.
const GREETING: Duration = Duration::from_secs(10);
/// How long a session whose machine will never run here is remembered for a source that has not heard of it.
const MEMORY: Duration = Duration::from_secs(600);

/// A machine has not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotCome(String);

impl NotCome {
    /// Nobody called.
    pub fn nobody() -> Self {
        Self("no machine came".into())
    }
}

/// The session and what became of it; all connections share it.
#[derive(Debug, Default)]
struct Ledger {
    entry: Mutex<Entry>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Entry {
    session: Option<Session>,
    state: Destination,
    /// The source may be in doubt: it was told that this side is ready.
    was_ready: bool,
    /// The source knows.
    settled: bool,
}

impl Ledger {
    fn entry(&self) -> MutexGuard<'_, Entry> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on(&self, event: Event) -> Order {
        let mut entry = self.entry();
        let (state, order) = entry.state.on(event);
        entry.state = state;
        entry.was_ready |= order == Order::SayReady;
        self.changed.notify_all();
        order
    }

    /// The one session, if it is not taken.
    fn claim(&self, session: &Session) -> bool {
        let mut entry = self.entry();
        let free = entry.session.is_none();
        if free {
            entry.session = Some(session.clone());
        }
        free
    }

    fn answer(&self, session: &Session) -> Fate {
        if self.entry().session.as_ref() != Some(session) {
            // This process has not heard of it, and so has not run it. Nor will it, if it comes later: a session is
            // asked about when its only connection is gone.
            return Fate::Never;
        }
        match self.on(Event::Ask) {
            Order::Answer(fate) => fate,
            // Nothing is held before `Go`.
            _ => Fate::Never,
        }
    }

    fn settle(&self) {
        self.entry().settled = true;
        self.changed.notify_all();
    }
}

/// Waits for a machine.
#[derive(Debug)]
pub struct Reception {
    ledger: Arc<Ledger>,
    greeted: Mutex<Receiver<Greeted>>,
}

#[derive(Debug)]
struct Greeted {
    session: Session,
    reader: Reader<Stream>,
    writer: Writer<Stream>,
    cut: Stream,
}

impl Reception {
    /// Waits at `listener` for the machine with these facts.
    ///
    /// # Errors
    /// The host has no thread left for it.
    pub fn open(listener: Listener, facts: Facts) -> io::Result<Self> {
        let ledger = Arc::new(Ledger::default());
        let (sender, greeted) = mpsc::sync_channel(1);
        let door = Door { ledger: Arc::clone(&ledger), facts, sender, callers: AtomicUsize::new(0) };
        let door = Arc::new(door);
        thread::Builder::new().name("receive".into()).stack_size(128 << 10).spawn(move || {
            while let Ok(stream) = listener.accept() {
                Door::admit(&door, stream);
            }
        })?;
        Ok(Self { ledger, greeted: Mutex::new(greeted) })
    }

    /// Waits for a source, for so long at most; `None` if none has come.
    pub fn greet(&self, limit: Duration) -> Option<Incoming> {
        let greeted = self.greeted.lock().unwrap_or_else(PoisonError::into_inner);
        let Greeted { session, reader, writer, cut } = greeted.recv_timeout(limit).ok()?;
        Some(Incoming { ledger: Arc::clone(&self.ledger), session, reader, writer, cut })
    }

    /// Stays for a source that may not know that its machine will never run here.
    /// `is_over` is asked from time to time whether to go all the same.
    pub fn linger(&self, is_over: impl Fn() -> bool) {
        const LOOK: Duration = Duration::from_millis(100);
        let mut left = MEMORY;
        let mut entry = self.ledger.entry();
        while entry.was_ready && !entry.settled && entry.state == Destination::Never && !left.is_zero() {
            if is_over() {
                return;
            }
            left = left.saturating_sub(LOOK);
            entry = match self.ledger.changed.wait_timeout(entry, LOOK) {
                Ok((entry, _)) => entry,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// What those who call share.
struct Door {
    ledger: Arc<Ledger>,
    facts: Facts,
    sender: SyncSender<Greeted>,
    callers: AtomicUsize,
}

impl Door {
    /// Looks at a connection on a thread of its own, unless there are too many.
    fn admit(door: &Arc<Self>, stream: Stream) {
        if door.callers.fetch_add(1, Ordering::AcqRel) >= MOST_CALLERS {
            door.callers.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let own = Arc::clone(door);
        let spawned = thread::Builder::new().name("caller".into()).stack_size(256 << 10).spawn(move || {
            if let Err(error) = own.hear(stream) {
                say!("kubevmm: a caller was sent away: {}", chain(&error));
            }
            own.callers.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            door.callers.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn hear(&self, stream: Stream) -> Result<(), WireError> {
        stream.set_patience(GREETING).map_err(WireError::Lost)?;
        let cut = stream.try_clone().map_err(WireError::Lost)?;
        let mut reader = Reader::new(stream.try_clone().map_err(WireError::Lost)?);
        let mut writer = Writer::new(stream);
        match reader.read()? {
            Message::Ask(session) => {
                writer.write(&Message::Fate(self.ledger.answer(&session)))?;
                if let Ok(Message::Settled) = reader.read() {
                    self.ledger.settle();
                }
                Ok(())
            }
            Message::Hello(hello) => match self.examine(&hello) {
                Ok(format) => {
                    cut.set_patience(PATIENCE).map_err(WireError::Lost)?;
                    writer.write(&Message::Welcome { format })?;
                    // Nobody waits for it any more if the process is about to end.
                    let _ = self.sender.send(Greeted { session: hello.session, reader, writer, cut });
                    Ok(())
                }
                Err(why) => {
                    say!("kubevmm: a machine was refused: {why}");
                    writer.write(&Message::Refused(why))
                }
            },
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

/// A machine that is on its way.
#[derive(Debug)]
pub struct Incoming {
    ledger: Arc<Ledger>,
    session: Session,
    reader: Reader<Stream>,
    writer: Writer<Stream>,
    cut: Stream,
}

impl Incoming {
    /// The attempt.
    pub fn session(&self) -> Session {
        self.session.clone()
    }

    /// Something that ends the connection from another thread.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn stream(&self) -> io::Result<Stream> {
        self.cut.try_clone()
    }

    /// Puts memory in place as it comes, until the machine's state has come, too.
    ///
    /// # Errors
    /// It does not come. It will never run here.
    pub fn receive(&mut self, ram: &GuestRam) -> Result<Vec<u8>, NotCome> {
        let mut fresh = true;
        loop {
            match self.reader.read() {
                Ok(Message::Pages(batch)) => {
                    if let Err(error) = copy::put(ram, &batch, fresh) {
                        return Err(self.fail(&error.to_string()));
                    }
                    self.reader.recycle(batch);
                }
                Ok(Message::Round(round)) => {
                    fresh = false;
                    if let Err(error) = self.writer.write(&Message::RoundTaken(round)) {
                        return Err(self.lost(&error));
                    }
                }
                Ok(Message::State(state)) => return Ok(state),
                Ok(Message::Failed(why)) => return Err(self.given_up(why)),
                Ok(_) => return Err(self.fail("the source says what makes no sense")),
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    /// All is in place. Says so, waits until the machine is handed over, and has `take` see to the disks and to a record; `undo` gives
    /// up again what it took. When this returns, the machine is to run, and nowhere else.
    ///
    /// # Errors
    /// It is not handed over, or cannot be taken. It will never run here.
    pub fn take_over(
        &mut self,
        take: impl FnOnce() -> Result<(), String>,
        undo: impl FnOnce(),
    ) -> Result<(), NotCome> {
        if self.ledger.on(Event::Loaded) != Order::SayReady {
            return Err(self.fail("the source has asked for it back"));
        }
        if let Err(error) = self.writer.write(&Message::Ready) {
            return Err(self.lost(&error));
        }
        match self.reader.read() {
            Ok(Message::Go) => {}
            Ok(Message::Failed(why)) => return Err(self.given_up(why)),
            Ok(_) => return Err(self.fail("the source says what makes no sense")),
            Err(error) => return Err(self.lost(&error)),
        }
        if self.ledger.on(Event::Go) != Order::Take {
            return Err(self.fail("the source has asked for it back"));
        }
        if let Err(why) = take() {
            undo();
            self.ledger.on(Event::NotTaken);
            return Err(self.say_failed(why));
        }
        self.ledger.on(Event::Taken);
        Ok(())
    }

    /// Tells the source that the machine runs here. Should it not hear of it, it asks.
    pub fn say_running(mut self) {
        if self.writer.write(&Message::Running).is_err() {
            return;
        }
        self.await_settlement();
    }

    /// Waits until the source says that it knows. Whatever else it says, it asks later.
    fn await_settlement(&mut self) {
        if let Ok(Message::Settled | Message::Failed(_)) = self.reader.read() {
            self.ledger.settle();
        }
    }

    /// Gives up because of something here.
    pub fn fail(&mut self, why: &str) -> NotCome {
        self.ledger.on(Event::Failed);
        self.say_failed(why.to_owned())
    }

    fn say_failed(&mut self, why: String) -> NotCome {
        // If it does not arrive, the connection's end says the same, or the source asks.
        let told = self.writer.write(&Message::Failed(why.clone())).is_ok();
        if told && self.ledger.entry().was_ready {
            self.await_settlement();
        }
        NotCome(why)
    }

    fn given_up(&self, why: String) -> NotCome {
        self.ledger.on(Event::PeerFailed);
        self.ledger.settle();
        NotCome(format!("the source has given up: {why}"))
    }

    fn lost(&self, error: &WireError) -> NotCome {
        self.ledger.on(Event::Lost);
        NotCome(chain(error))
    }
}
