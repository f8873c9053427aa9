//! The source's side of a migration, from the first byte to the end of its machine.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use devices::{GuestRam, chain};

use super::bandwidth::Bandwidth;
use super::copy::{CopyError, Sender};
use super::ownership::{Source, SourceEvent as Event, SourceOrder as Order};
use super::rounds::{self, Rounds, Verdict};
use super::transport::Stream;
use super::wire::{FORMAT, Fate, Hello, Message, OLDEST_FORMAT, Reader, Round, Session, WireError, Writer};
use super::{Facts, MigrationOptions};
use crate::dirty::PageSet;

/// How long the other side may be silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long until the destination is asked again what became of the machine, at first and at most.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The machine that is to be moved, as its migration needs it.
pub trait Departing {
    /// Its memory.
    fn ram(&self) -> GuestRam;
    /// The pages that were written since the last call, or since the migration began.
    fn written(&mut self) -> Result<PageSet, String>;
    /// Takes this share of the vCPUs' time away, in percent.
    fn throttle(&mut self, percent: u8);
    /// Stops it; gives back all that it is besides memory.
    fn stop(&mut self) -> Result<Vec<u8>, String>;
    /// Writes down, durably, that it is not to run here any more.
    fn record(&mut self) -> Result<(), String>;
    /// Gives its disks up.
    fn let_disks_go(&mut self) -> Result<(), String>;
    /// Takes its disks back, if nobody else has them.
    fn take_disks_back(&mut self) -> Result<(), String>;
    /// Lets it go on.
    fn go_on(&mut self);
    /// Ends it for good: it has moved.
    fn end(&mut self, moved: &Moved);
    /// Takes note of how far the migration is.
    fn note(&mut self, progress: &Progress);
}

/// What a migration is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The other side is called.
    #[default]
    Connecting,
    /// Memory is copied while the guest runs.
    Copying,
    /// The guest stands still.
    Standing,
    /// The machine is being handed over.
    HandingOver,
    /// It cannot be told whether the destination has it; it is being asked.
    Asking,
}

/// How far a migration is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it is at.
    pub phase: Phase,
    /// Rounds of copying that are over.
    pub rounds: u32,
    /// Bytes of memory in all.
    pub memory: u64,
    /// Bytes that went over the wire.
    pub sent: u64,
    /// Bytes that are to be copied yet.
    pub left: u64,
    /// Bytes a second that the connection carries.
    pub rate: u64,
    /// Bytes a second that the guest writes.
    pub dirty_rate: u64,
    /// How long the guest would stand still if it were stopped now.
    pub downtime: Option<Duration>,
    /// Share of vCPUs' time that is taken away, in percent.
    pub throttle: u8,
}

/// What a guest stood still for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Downtime {
    /// Stopping, disks made durable, state taken.
    pub stop: Duration,
    /// The last pages, and the state, sent.
    pub send: Duration,
    /// Until the destination was ready: all put in place there.
    pub load: Duration,
    /// Until it said that it runs: records, locks.
    pub hand_over: Duration,
}

impl Downtime {
    /// All of it, by the source's clock.
    pub fn total(&self) -> Duration {
        self.stop + self.send + self.load + self.hand_over
    }
}

/// A machine has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// What it took.
    pub progress: Progress,
    /// From its stop to the news that it runs.
    pub downtime: Downtime,
    /// How long it took in all.
    pub took: Duration,
}

/// A machine has stayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Stayed {
    /// Why.
    pub message: String,
    /// Somebody wanted it so.
    pub cancelled: bool,
}

/// Ends a migration from elsewhere. Clones end the same.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    /// It is too late to cancel.
    late: AtomicBool,
    /// An operator knows that the destination does not run the machine, and never will.
    forced: AtomicBool,
    stream: Mutex<Option<Stream>>,
}

/// It is too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machine has been handed over already: it is the destination's to say what becomes of it")]
pub struct TooLate;

impl Cancel {
    /// Cancels; the guest goes on as if nothing had been.
    ///
    /// # Errors
    /// It is too late.
    pub fn cancel(&self) -> Result<(), TooLate> {
        if self.0.late.load(Ordering::SeqCst) {
            return Err(TooLate);
        }
        self.0.asked.store(true, Ordering::SeqCst);
        if let Some(stream) = &*self.stream() {
            stream.cut();
        }
        Ok(())
    }

    /// Takes the machine back from a destination that does not answer. Its disks have to be free for that, too.
    pub fn force(&self) {
        self.0.forced.store(true, Ordering::SeqCst);
    }

    fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    fn watch(&self, stream: Option<Stream>) {
        *self.stream() = stream;
    }

    fn stream(&self) -> std::sync::MutexGuard<'_, Option<Stream>> {
        self.0.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves a machine over the connection that `dial` makes; it is called again should the first one be lost at the wrong moment.
///
/// # Errors
/// The machine has stayed, and goes on.
pub fn depart(
    machine: &mut dyn Departing,
    dial: &dyn Fn() -> io::Result<Stream>,
    session: Session,
    facts: Facts,
    options: &MigrationOptions,
    cancel: &Cancel,
) -> Result<Moved, Stayed> {
    let stay = |message: String| Stayed { message, cancelled: cancel.is_asked() };
    let hello = Hello { format: FORMAT, oldest: OLDEST_FORMAT, session: session.clone(), facts };
    let mut departure = Departure::begin(machine, dial, hello, options, cancel).map_err(stay)?;
    let mut owner = Source::default();
    let mut next = Some(departure.copy());
    while let Some(event) = next {
        let (state, order) = owner.on(event);
        owner = state;
        next = departure.carry_out(order);
    }
    match owner {
        Source::Gone => Ok(departure.moved()),
        _ => Err(stay(departure.why.unwrap_or_else(|| "it was broken off".into()))),
    }
}

struct Departure<'a> {
    machine: &'a mut dyn Departing,
    dial: &'a dyn Fn() -> io::Result<Stream>,
    cancel: &'a Cancel,
    session: Session,
    sender: Sender<Stream>,
    reader: Reader<Stream>,
    ram: GuestRam,
    rounds: Rounds,
    progress: Progress,
    /// What is to be copied once the guest stands.
    left: PageSet,
    began: Instant,
    stopped: Option<Instant>,
    downtime: Downtime,
    recording: Duration,
    why: Option<String>,
}

impl<'a> Departure<'a> {
    /// Connects, and finds out whether the other side takes the machine.
    fn begin(
        machine: &'a mut dyn Departing,
        dial: &'a dyn Fn() -> io::Result<Stream>,
        hello: Hello,
        options: &MigrationOptions,
        cancel: &'a Cancel,
    ) -> Result<Self, String> {
        let began = Instant::now();
        machine.note(&Progress::default());
        let failed = |error: io::Error| format!("the destination could not be reached: {error}");
        let stream = dial().map_err(failed)?;
        stream.set_patience(PATIENCE).map_err(failed)?;
        cancel.watch(Some(stream.try_clone().map_err(failed)?));
        if cancel.is_asked() {
            return Err("it was cancelled".into());
        }
        let mut reader = Reader::new(stream.try_clone().map_err(failed)?);
        let mut writer = Writer::new(stream);
        let session = hello.session.clone();
        writer.write(&Message::Hello(hello)).map_err(|error| chain(&error))?;
        match reader.read().map_err(|error| chain(&error))? {
            Message::Welcome { format } if (OLDEST_FORMAT..=FORMAT).contains(&format) => {}
            Message::Refused(message) => return Err(format!("the destination refuses: {message}")),
            _ => return Err("the destination answers what makes no sense".into()),
        }
        let ram = machine.ram();
        let memory = PageSet::all(&ram).len().saturating_mul(ram::PAGE as u64);
        Ok(Self {
            left: PageSet::none(&ram),
            sender: Sender::new(writer, options.bandwidth.map(Bandwidth::new)),
            rounds: Rounds::new(options.clone(), memory),
            progress: Progress { phase: Phase::Copying, memory, left: memory, ..Progress::default() },
            machine,
            dial,
            cancel,
            session,
            reader,
            ram,
            began,
            stopped: None,
            downtime: Downtime::default(),
            recording: Duration::ZERO,
            why: None,
        })
    }

    /// Does what follows; what comes of it, if anything.
    fn carry_out(&mut self, order: Order) -> Option<Event> {
        match order {
            Order::Nothing | Order::Refuse => None,
            Order::StopGuest => Some(self.stop()),
            Order::Record => Some(self.record()),
            Order::HandOver => Some(self.hand_over()),
            Order::Ask => Some(self.ask()),
            Order::GoOn => {
                let why = self.why.clone().unwrap_or_else(|| "the source has given up".into());
                // If it does not arrive, the connection's end says the same.
                let _ = self.sender.to.write(&Message::Failed(why));
                self.machine.throttle(0);
                self.machine.go_on();
                if self.stopped.is_some() {
                    // A destination that said it is ready stays until it knows; on this connection it may not have heard.
                    let _ = self.question();
                }
                None
            }
            Order::TakeBack => {
                // As below.
                let _ = self.sender.to.write(&Message::Settled);
                self.take_back();
                self.machine.throttle(0);
                self.machine.go_on();
                None
            }
            Order::End => {
                // Without it, the destination waits for a question that does not come.
                let _ = self.sender.to.write(&Message::Settled);
                let moved = self.moved();
                self.machine.end(&moved);
                None
            }
        }
    }

    fn moved(&self) -> Moved {
        Moved { progress: self.progress, downtime: self.downtime, took: self.began.elapsed() }
    }

    fn note(&mut self, phase: Phase) {
        self.progress.phase = phase;
        self.progress.rounds = self.rounds.count();
        self.progress.rate = self.rounds.rate().unwrap_or(0);
        self.progress.dirty_rate = self.rounds.dirty_rate();
        self.progress.throttle = self.rounds.throttle();
        self.progress.downtime = self.rounds.downtime(self.progress.left);
        self.machine.note(&self.progress);
    }

    fn because(&mut self, event: Event, why: String) -> Event {
        self.why.get_or_insert(why);
        event
    }

    /// What follows from a connection that does not do.
    fn lost(&mut self, error: &WireError) -> Event {
        if self.cancel.is_asked() && self.stopped.is_none() {
            return self.because(Event::Cancel, "it was cancelled".into());
        }
        // What the other side said before it went tells more.
        if let WireError::Lost(_) = error
            && let Ok(Message::Failed(message)) = self.reader.read()
        {
            return self.because(Event::PeerFailed, format!("the destination has given up: {message}"));
        }
        self.because(Event::Lost, chain(error))
    }

    /// Copies memory, round after round, until the rest fits into the downtime.
    fn copy(&mut self) -> Event {
        self.note(Phase::Copying);
        let began = Instant::now();
        let mut set = PageSet::all(&self.ram);
        loop {
            let round = match self.round(&set) {
                Ok((round, left)) => {
                    self.left = left;
                    round
                }
                Err(event) => return event,
            };
            self.progress.left = round.left;
            let verdict = self.rounds.over(round, began.elapsed());
            self.note(Phase::Copying);
            match verdict {
                Verdict::Stop => return Event::Converged,
                Verdict::GiveUp(reason) => return self.because(Event::Cancel, reason.to_string()),
                Verdict::Again { throttle } => self.machine.throttle(throttle),
            }
            set = std::mem::replace(&mut self.left, PageSet::none(&self.ram));
        }
    }

    /// Sends a set of pages, and waits until they have arrived; what was written meanwhile.
    fn round(&mut self, set: &PageSet) -> Result<(rounds::Round, PageSet), Event> {
        let began = Instant::now();
        let cancel = self.cancel.clone();
        let copied = match self.sender.send(&self.ram, set, || cancel.is_asked()) {
            Ok(copied) => copied,
            Err(CopyError::Wire(error)) => return Err(self.lost(&error)),
            Err(CopyError::Cancelled) => return Err(self.because(Event::Cancel, "it was cancelled".into())),
            Err(error) => return Err(self.because(Event::Cancel, chain(&error))),
        };
        self.progress.sent = self.progress.sent.saturating_add(copied.sent);
        let waiting = Instant::now();
        self.barrier()?;
        let left = self.machine.written().map_err(|why| self.because(Event::Cancel, why))?;
        let round = rounds::Round {
            sent: copied.sent,
            sending: copied.sending.saturating_add(waiting.elapsed()),
            took: began.elapsed(),
            left: left.len().saturating_mul(ram::PAGE as u64),
        };
        Ok((round, left))
    }

    /// Waits until all that was sent has arrived.
    fn barrier(&mut self) -> Result<(), Event> {
        let round = Round { number: self.rounds.count().saturating_add(1) };
        if let Err(error) = self.sender.to.write(&Message::Round(round)) {
            return Err(self.lost(&error));
        }
        match self.reader.read() {
            Ok(Message::RoundTaken(taken)) if taken == round => Ok(()),
            Ok(Message::Failed(message)) => {
                Err(self.because(Event::PeerFailed, format!("the destination has given up: {message}")))
            }
            Ok(_) => Err(self.because(Event::Lost, "the destination says what makes no sense".into())),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Stops the guest, and sends all that is left of it.
    fn stop(&mut self) -> Event {
        let began = Instant::now();
        self.stopped = Some(began);
        let state = match self.machine.stop() {
            Ok(state) => state,
            Err(why) => return self.because(Event::Cancel, why),
        };
        let mut since = self.lap(|downtime| &mut downtime.stop, began);
        self.note(Phase::Standing);
        let mut set = std::mem::replace(&mut self.left, PageSet::none(&self.ram));
        match self.machine.written() {
            Ok(written) => set.add(&written),
            Err(why) => return self.because(Event::Cancel, why),
        }
        let cancel = self.cancel.clone();
        let sent = self.sender.send(&self.ram, &set, || cancel.is_asked());
        let sent = sent.and_then(|copied| {
            self.sender.to.write(&Message::State(state))?;
            Ok(copied)
        });
        match sent {
            Ok(copied) => self.progress.sent = self.progress.sent.saturating_add(copied.sent),
            Err(CopyError::Wire(error)) => return self.lost(&error),
            Err(error) => return self.because(Event::Cancel, chain(&error)),
        }
        self.progress.left = 0;
        since = self.lap(|downtime| &mut downtime.send, since);
        match self.reader.read() {
            Ok(Message::Ready) => {
                self.lap(|downtime| &mut downtime.load, since);
                Event::PeerReady
            }
            Ok(Message::Failed(message)) => {
                self.because(Event::PeerFailed, format!("the destination could not take it over: {message}"))
            }
            Ok(_) => self.because(Event::Lost, "the destination says what makes no sense".into()),
            Err(error) => self.lost(&error),
        }
    }

    /// Notes how long a part of the downtime took; when the next one begins.
    fn lap(&mut self, part: fn(&mut Downtime) -> &mut Duration, since: Instant) -> Instant {
        let now = Instant::now();
        *part(&mut self.downtime) = now.saturating_duration_since(since);
        now
    }

    fn record(&mut self) -> Event {
        let began = Instant::now();
        // From here on, cancelling is of no use to anybody.
        self.cancel.0.late.store(true, Ordering::SeqCst);
        if self.cancel.is_asked() {
            return self.because(Event::Cancel, "it was cancelled".into());
        }
        self.note(Phase::HandingOver);
        match self.machine.record() {
            Ok(()) => {
                self.recording = began.elapsed();
                Event::Recorded
            }
            Err(why) => self.because(Event::NotRecorded, why),
        }
    }

    fn hand_over(&mut self) -> Event {
        let since = Instant::now();
        if let Err(why) = self.machine.let_disks_go() {
            // It has not been told to go.
            return self.because(Event::Told(Fate::Never), why);
        }
        if let Err(error) = self.sender.to.write(&Message::Go) {
            return self.because(Event::Lost, chain(&error));
        }
        match self.reader.read() {
            Ok(Message::Running) => {
                self.downtime.hand_over = self.recording.saturating_add(since.elapsed());
                Event::PeerRunning
            }
            Ok(Message::Failed(message)) => {
                self.because(Event::PeerFailed, format!("the destination could not take it over: {message}"))
            }
            Ok(_) => self.because(Event::Lost, "the destination says what makes no sense".into()),
            Err(error) => self.because(Event::Lost, chain(&error)),
        }
    }

    /// Asks the destination what became of the machine, until it answers or an operator does.
    fn ask(&mut self) -> Event {
        self.note(Phase::Asking);
        let (mut pause, most) = ASK_AGAIN;
        loop {
            match self.question() {
                // It is finding out.
                Ok(Fate::Open) | Err(_) => {}
                Ok(fate) => return Event::Told(fate),
            }
            // Disks that can be had are proof that no process has the machine at this moment; that none has had it is what the
            // operator vouches for.
            if self.cancel.0.forced.load(Ordering::SeqCst) && self.machine.take_disks_back().is_ok() {
                return Event::Told(Fate::Never);
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(most);
        }
    }

    fn question(&self) -> Result<Fate, WireError> {
        let stream = (self.dial)().map_err(WireError::Lost)?;
        stream.set_patience(PATIENCE).map_err(WireError::Lost)?;
        let mut reader = Reader::new(stream.try_clone().map_err(WireError::Lost)?);
        let mut writer = Writer::new(stream);
        writer.write(&Message::Ask(self.session.clone()))?;
        match reader.read()? {
            Message::Fate(fate) => {
                if fate != Fate::Open {
                    // It may forget the session. If it does not hear of it, it forgets it later.
                    let _ = writer.write(&Message::Settled);
                }
                Ok(fate)
            }
            _ => Err(WireError::Unexpected("something else than an answer")),
        }
    }

    /// Takes the disks back from a destination that has let go of them.
    fn take_back(&mut self) {
        let (mut pause, most) = ASK_AGAIN;
        while self.machine.take_disks_back().is_err() {
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(most);
        }
    }
}
