//! The destination's side of a migration, from the first byte to a machine that runs.

mod behind;
mod cutter;
mod door;
mod lanes;
mod ledger;

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;

use devices::{GuestRam, chain};

pub use self::cutter::Cutter;
pub use self::door::Reception;
use self::lanes::{Fellows, Lanes};
use self::ledger::Ledger;
use super::copy;
use super::ownership::{DestinationEvent as Event, DestinationOrder as Order};
use super::source::PATIENCE;
use super::storage::{Answer, Devices, Sinks};
use super::transport::Stream;
use super::wire::{Blocks, Message, Reader, Session, WireError, Writer};
use super::witness::Witness;
use crate::demand::{Connection, Demand};

/// Bytes of stack of a thread that puts pages in place.
const STACK: usize = 128 << 10;

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

/// What has come of a machine.
#[derive(Debug)]
pub struct Come {
    /// All but its memory.
    pub state: Vec<u8>,
    /// The rest of its memory, if that follows.
    pub demand: Option<Demand>,
}

/// A machine that is on its way.
#[derive(Debug)]
pub struct Incoming {
    ledger: Arc<Ledger>,
    session: Session,
    lanes: Lanes,
    /// Connections by which memory comes that follows the machine.
    pages: Receiver<Connection>,
    reader: Reader<Stream>,
    writer: Writer<Stream>,
    cut: Stream,
    cutter: Cutter,
    disks: Sinks,
    /// Says that the machine has not run here.
    witness: Option<Witness>,
}

impl Incoming {
    /// What the source says of its devices.
    ///
    /// # Errors
    /// It does not come.
    pub fn devices(&mut self) -> Result<Devices, NotCome> {
        match self.reader.read() {
            Ok(Message::Devices(devices)) => Ok(devices),
            Ok(Message::Failed(why)) => Err(self.given_up(why)),
            Ok(_) => Err(self.fail("the source says what makes no sense")),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Says what is to become of the source's disks; what it sends of them goes to `sinks`.
    ///
    /// # Errors
    /// The source is gone.
    pub fn agree(&mut self, answers: Vec<Answer>, sinks: Sinks) -> Result<(), NotCome> {
        self.disks = sinks;
        self.writer.write(&Message::DevicesTaken(answers)).map_err(|error| self.lost(&error))
    }

    /// The attempt.
    pub fn session(&self) -> Session {
        self.session.clone()
    }

    /// Something that ends its connections from another thread: that by which its memory follows, too.
    pub fn cutter(&self) -> Cutter {
        self.cutter.clone()
    }

    /// Its first connection, for a test that disturbs it.
    #[cfg(test)]
    pub(super) fn stream(&self) -> Stream {
        self.cut.try_clone().unwrap()
    }

    /// Puts memory in place as it comes, until the machine's state has come, too.
    ///
    /// # Errors
    /// It does not come. It will never run here.
    pub fn receive(&mut self, ram: &GuestRam) -> Result<Come, NotCome> {
        // By then, whoever was to join has joined.
        let first = self.reader.read();
        let Some(lanes) = self.lanes.gather() else {
            return Err(match first {
                Err(error) => self.lost(&error),
                Ok(_) => self.fail("a connection has not come"),
            });
        };
        let fellows = match Fellows::new(&lanes) {
            Ok(fellows) => fellows,
            Err(error) => return Err(self.fail(&error.to_string())),
        };
        thread::scope(|scope| {
            for (place, lane) in lanes.into_iter().enumerate() {
                let fellows = &fellows;
                let thread = thread::Builder::new().name("migrate".into()).stack_size(STACK);
                if let Err(error) = thread.spawn_scoped(scope, move || fellows.carry(place, lane, ram)) {
                    fellows.cut();
                    return Err(self.fail(&format!("no thread could be had for a connection: {error}")));
                }
            }
            let mut demand = None;
            let came = self.receive_first(first, ram, &fellows, &mut demand);
            // They have brought what they were to bring, or it does not matter any more.
            let failed = fellows.failed();
            fellows.cut();
            match came {
                Ok(state) => Ok(Come { state, demand }),
                Err(error) => {
                    // It never runs here: nobody is to wait for what does not come.
                    demand.into_iter().for_each(Demand::release);
                    Err(failed.map_or(error, NotCome))
                }
            }
        })
    }

    /// The same of the first connection, by which all else comes as well: the machine's state. What follows it goes to `demand`.
    fn receive_first(
        &mut self,
        first: Result<Message, WireError>,
        ram: &GuestRam,
        fellows: &Fellows,
        demand: &mut Option<Demand>,
    ) -> Result<Vec<u8>, NotCome> {
        let mut next = Some(first);
        let mut fresh = true;
        loop {
            match next.take().unwrap_or_else(|| self.reader.read()) {
                // Later it might be put where a page is missing, and wait for that page.
                Ok(Message::Pages(batch)) if demand.is_none() => {
                    if let Err(error) = copy::put(ram, &batch, fresh) {
                        return Err(self.fail(&error.to_string()));
                    }
                    self.reader.recycle(batch);
                }
                Ok(Message::Round(round)) => {
                    fresh = false;
                    let synced = self.disks.sync();
                    if let Err(why) = synced.and_then(|()| fellows.await_round(round.number, PATIENCE)) {
                        return Err(self.fail(&why));
                    }
                    if let Err(error) = self.writer.write(&Message::RoundTaken(round)) {
                        return Err(self.lost(&error));
                    }
                }
                Ok(Message::Blocks(Blocks { disk, batch })) => {
                    if let Err(why) = self.disks.put(disk, &batch) {
                        return Err(self.fail(&why));
                    }
                    self.reader.recycle(batch);
                }
                Ok(Message::Samples(Blocks { disk, batch })) => {
                    if let Err(why) = self.disks.compare(disk, &batch) {
                        return Err(self.fail(&why));
                    }
                }
                Ok(Message::State(state)) => {
                    self.disks.finish().map_err(|why| self.fail(&why))?;
                    return Ok(state);
                }
                Ok(Message::Behind) if demand.is_none() => {
                    fellows.end(PATIENCE).map_err(|why| self.fail(&why))?;
                    *demand = Some(self.follow(ram)?);
                }
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
            return Err(self.fail(&self.ledger.why()));
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
            return Err(self.fail(&self.ledger.why()));
        }
        let fail =
            |error| format!("that the machine is about to run here could not be written down: {error}");
        let strike = || self.witness.as_ref().map_or(Ok(()), Witness::strike).map_err(fail);
        if let Err(why) = take().and_then(|()| strike()) {
            undo();
            self.ledger.on(Event::NotTaken);
            return Err(self.say_failed(why));
        }
        self.ledger.on(Event::Taken);
        Ok(())
    }

    /// Tells the source that the machine runs here, then others by `tell`. Should the source not hear of it, it asks.
    pub fn say_running(mut self, tell: impl FnOnce()) {
        let is_sent = self.writer.write(&Message::Running).is_ok();
        tell();
        if is_sent {
            self.await_settlement();
        }
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
        // A source that is merely slow need not wait for an answer on it.
        self.cut.cut();
        NotCome(chain(error))
    }
}
