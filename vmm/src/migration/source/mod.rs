//! The source's side of a migration, from the first byte to the end of its machine.

mod behind;
mod cancel;
mod copying;
mod disks;
mod handover;
mod lanes;
mod progress;
mod telling;

use std::io;
use std::time::{Duration, Instant};

use devices::{GuestRam, chain};

use self::behind::Behind;
pub use self::cancel::{Cancel, NotForced, TooLate};
pub use self::progress::{Downtime, Moved, Phase, Progress, Stayed};
pub use self::telling::tell_stayed;
use super::bandwidth::Bandwidth;
use super::copy::{Pace, Sender};
use super::ownership::{Source, SourceEvent as Event, SourceOrder as Order};
use super::rounds::Rounds;
use super::storage::{Leaving, Trust};
use super::transport::Stream;
use super::wire::{FORMAT, Hello, Message, OLDEST_FORMAT, Reader, Session, Welcome, WireError, Writer};
use super::witness::Proof;
use super::{Facts, MigrationOptions};
use crate::dirty::PageSet;

/// How long the other side may be silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The machine that is to be moved, as its migration needs it.
pub trait Departing {
    /// Its memory.
    fn ram(&self) -> GuestRam;
    /// Those of its pages that may have something in them: all others are zero, but for what is written from now on.
    fn touched(&self) -> PageSet;
    /// Its disks, and which of them are to be copied. It is called once.
    fn disks(&mut self) -> Leaving;
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
    /// Takes its disks back, if nobody else has them, nor has had them where that is to be seen.
    fn take_disks_back(&mut self, trust: Trust) -> Result<(), String>;
    /// Lets it go on.
    fn go_on(&mut self);
    /// Ends it for good: it has moved.
    fn end(&mut self, moved: &Moved);
    /// Takes note of how far the migration is.
    fn note(&mut self, progress: &Progress);
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
    let stay = |message: String| Stayed { message, cancelled: cancel.is_asked(), is_untold: false };
    let connections = options.connections.into();
    let hello = Hello { format: FORMAT, oldest: OLDEST_FORMAT, session: session.clone(), connections, facts };
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
        _ => {
            // Until the guest stood, the destination had nothing to be in doubt about.
            let is_untold = departure.stopped.is_some();
            let stayed = stay(departure.why.unwrap_or_else(|| "it was broken off".into()));
            Err(Stayed { is_untold, ..stayed })
        }
    }
}

/// Whether what was answered is an answer.
fn is_sensible(welcome: &Welcome, wanted: u8) -> bool {
    (OLDEST_FORMAT..=FORMAT).contains(&welcome.format) && (1..=wanted).contains(&welcome.connections)
}

struct Departure<'a> {
    machine: &'a mut dyn Departing,
    dial: &'a dyn Fn() -> io::Result<Stream>,
    cancel: &'a Cancel,
    session: Session,
    sender: Sender<Stream>,
    /// The first connection, by which all but memory goes.
    first: Stream,
    reader: Reader<Stream>,
    ram: GuestRam,
    disks: Leaving,
    rounds: Rounds,
    /// How often it was waited until all had arrived.
    barriers: u32,
    progress: Progress,
    /// What is to be copied once the guest stands.
    left: PageSet,
    /// What is served after the machine was handed over.
    behind: Option<Behind>,
    began: Instant,
    stopped: Option<Instant>,
    downtime: Downtime,
    recording: Duration,
    /// By what it shows that the destination is gone, and has never run the machine.
    proof: Option<Proof>,
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
        cancel.watch(stream.try_clone().map_err(failed)?);
        if cancel.is_asked() {
            return Err("it was cancelled".into());
        }
        let first = stream.try_clone().map_err(failed)?;
        let mut reader = Reader::new(stream.try_clone().map_err(failed)?);
        let mut writer = Writer::new(stream);
        let (session, wanted) = (hello.session.clone(), hello.connections);
        writer.write(&Message::Hello(hello)).map_err(|error| chain(&error))?;
        let welcome = match reader.read().map_err(|error| chain(&error))? {
            Message::Welcome(welcome) if is_sensible(&welcome, wanted) => welcome,
            Message::Refused(message) => return Err(format!("the destination refuses: {message}")),
            _ => return Err("the destination answers what makes no sense".into()),
        };
        // It says more on this connection before the machine is handed over.
        let proof = welcome.testimony.as_ref().and_then(|testimony| Proof::of(testimony, &session).ok());
        let others = lanes::join(dial, &welcome, cancel)?;
        let mut disks = machine.disks();
        disks::agree(&mut disks, &options.copies(), &mut writer, &mut reader)?;
        let ram = machine.ram();
        let memory = PageSet::all(&ram).len().saturating_mul(ram::PAGE as u64);
        Ok(Self {
            left: PageSet::none(&ram),
            behind: None,
            sender: Sender::new(
                writer,
                others,
                options.bandwidth.map(|rate| Pace::new(Bandwidth::new(rate))),
            ),
            rounds: Rounds::new(options.clone(), memory.saturating_add(disks.bytes())),
            barriers: 0,
            progress: Progress {
                phase: Phase::Copying,
                memory,
                disks: disks.bytes(),
                left: memory.saturating_add(disks.left()),
                ..Progress::default()
            },
            disks,
            machine,
            dial,
            cancel,
            session,
            first,
            reader,
            ram,
            began,
            stopped: None,
            downtime: Downtime::default(),
            recording: Duration::ZERO,
            proof,
            why: None,
        })
    }

    /// Does what follows; what comes of it, if anything.
    fn carry_out(&mut self, order: Order) -> Option<Event> {
        match order {
            Order::Nothing | Order::Refuse => None,
            Order::StopGuest(memory) => Some(self.stop(memory)),
            Order::Record => Some(self.record()),
            Order::HandOver => Some(self.hand_over()),
            Order::Ask => Some(self.ask()),
            Order::Serve => {
                // As below. If it does not go, it was told on another connection, or the destination forgets it later.
                let _ = self.sender.to.write(&Message::Settled);
                self.cancel.serving();
                Some(self.serve())
            }
            Order::GoOn => {
                self.behind = None;
                self.machine.throttle(0);
                self.machine.go_on();
                let why = self.why.clone().unwrap_or_else(|| "the source has given up".into());
                // The guest does not wait for a network that stalls. If it does not arrive, the connection's end says the same.
                let _ = self.sender.to.write(&Message::Failed(why));
                None
            }
            Order::TakeBack => {
                self.behind = None;
                self.take_back();
                self.cancel.taken_back();
                self.machine.throttle(0);
                self.machine.go_on();
                // As below.
                let _ = self.sender.to.write(&Message::Settled);
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

    /// The destination has said why it gives up.
    fn given_up(&mut self, why: &str) -> Event {
        self.because(Event::PeerFailed, format!("the destination has given up: {why}"))
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
            return self.given_up(&message);
        }
        self.because(Event::Lost, chain(error))
    }
}
