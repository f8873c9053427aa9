//! Connections besides the first one, which carry nothing but pages.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use devices::{GuestRam, chain};

use super::super::copy;
use super::super::transport::Stream;
use super::super::wire::{Key, Message, Reader, WireError, Writer};

/// Where connections join the session.
#[derive(Clone, Debug, Default)]
pub(super) struct Lobby(Arc<Mutex<Option<Expected>>>);

#[derive(Debug)]
struct Expected {
    key: Key,
    count: usize,
    come: Vec<Lane>,
}

/// One that has joined.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) reader: Reader<Stream>,
    pub(super) writer: Writer<Stream>,
    pub(super) cut: Stream,
}

impl Lobby {
    /// Lets so many in that show this key, until they are gathered.
    pub(super) fn open(&self, key: Key, count: u8) -> Lanes {
        *self.expected() = Some(Expected { key, count: count.into(), come: Vec::new() });
        Lanes(self.clone())
    }

    /// Takes a connection whose first message was a key.
    pub(super) fn enter(&self, key: &Key, mut lane: Lane) -> Result<(), WireError> {
        let mut expected = self.expected();
        let expected = expected.as_mut().filter(|all| all.come.len() < all.count && all.key == *key);
        let expected = expected.ok_or(WireError::Unexpected("the key of no session"))?;
        // Whoever hears of it and then speaks on the first connection is gathered: that waits for the lock.
        lane.writer.write(&Message::Joined)?;
        expected.come.push(lane);
        Ok(())
    }

    fn expected(&self) -> MutexGuard<'_, Option<Expected>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections that are to join; none do any more when this is dropped.
#[derive(Debug)]
pub(super) struct Lanes(Lobby);

impl Lanes {
    /// All of them; `None` if some have not come.
    pub(super) fn gather(&self) -> Option<Vec<Lane>> {
        let Expected { count, come, .. } = self.0.expected().take()?;
        (come.len() == count).then_some(come)
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        *self.0.expected() = None;
    }
}

/// How far all further connections are.
#[derive(Debug)]
pub(super) struct Fellows {
    state: Mutex<State>,
    changed: Condvar,
    streams: Vec<Stream>,
}

#[derive(Debug)]
struct State {
    /// The last round that each has brought all of.
    rounds: Vec<u32>,
    failed: Option<String>,
    /// How many may still put memory in place.
    at_work: usize,
    /// They have brought what they were to bring.
    is_over: bool,
}

impl Fellows {
    pub(super) fn new(lanes: &[Lane]) -> std::io::Result<Self> {
        let streams = lanes.iter().map(|lane| lane.cut.try_clone()).collect::<Result<_, _>>()?;
        let state =
            State { rounds: vec![0; lanes.len()], failed: None, at_work: lanes.len(), is_over: false };
        Ok(Self { state: Mutex::new(state), changed: Condvar::new(), streams })
    }

    /// Puts memory in place as it comes by the connection at this place, until it ends.
    pub(super) fn carry(&self, place: usize, mut lane: Lane, ram: &GuestRam) {
        let mut fresh = true;
        let why = loop {
            match lane.reader.read() {
                Ok(Message::Pages(batch)) => {
                    if let Err(error) = copy::put(ram, &batch, fresh) {
                        break error.to_string();
                    }
                    lane.reader.recycle(batch);
                }
                Ok(Message::Round(round)) => {
                    fresh = false;
                    if let Some(done) = self.state().rounds.get_mut(place) {
                        *done = round.number;
                    }
                    self.changed.notify_all();
                }
                Ok(_) => break "the source says what makes no sense".to_owned(),
                Err(error) => break chain(&error),
            }
        };
        // If it does not arrive, the connection's end says the same.
        let _ = lane.writer.write(&Message::Failed(why.clone()));
        let mut state = self.state();
        state.at_work = state.at_work.saturating_sub(1);
        if !state.is_over {
            state.failed.get_or_insert(why);
        }
        drop(state);
        self.changed.notify_all();
        self.cut();
    }

    /// Ends all of them, which have brought what they were to bring, and waits, for so long at most, until none puts memory in place any
    /// more: where pages are missing, it would wait for them.
    pub(super) fn end(&self, patience: Duration) -> Result<(), String> {
        self.state().is_over = true;
        self.cut();
        let waited = self.changed.wait_timeout_while(self.state(), patience, |state| state.at_work > 0);
        let is_late = waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
        if is_late { Err("a connection does not end".into()) } else { Ok(()) }
    }

    /// Waits, for so long at most, until all have brought all of this round.
    pub(super) fn await_round(&self, number: u32, patience: Duration) -> Result<(), String> {
        let waits =
            |state: &mut State| state.failed.is_none() && state.rounds.iter().any(|round| *round < number);
        let waited = self.changed.wait_timeout_while(self.state(), patience, waits);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        match &state.failed {
            Some(why) => Err(why.clone()),
            None if timeout.timed_out() => Err("a connection says nothing any more".into()),
            None => Ok(()),
        }
    }

    /// What ended one of them.
    pub(super) fn failed(&self) -> Option<String> {
        self.state().failed.clone()
    }

    /// Ends all of them.
    pub(super) fn cut(&self) {
        self.streams.iter().for_each(Stream::cut);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
