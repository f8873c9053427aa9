//! The middle of the serial console: what the guest says is kept for a while, and read by whoever listens; one of them types.
//!
//! Nobody waits here. A listener that reads too slowly misses what is not kept any more; keys that the guest does not take
//! stay with whoever typed them. The hub outlives guests: each plugs its serial port in when it is built.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::platform::serial::{ConsoleRing, Serial};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Output that is kept, in bytes.
const KEPT: usize = 256 << 10;
/// Keys that wait for the guest, at most.
const KEYS: usize = 4096;

/// A serial port, as its guest's machine has it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) serial: Arc<Serial>,
    pub(super) ring: Arc<ConsoleRing>,
}

/// The console of one machine; clones are the same console.
#[derive(Clone, Debug)]
pub struct ConsoleHub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// There are keys, or another port.
    news: EventFd,
}

#[derive(Debug, Default)]
struct State {
    port: Option<Arc<Port>>,
    /// The newest output.
    kept: VecDeque<u8>,
    /// Bytes of output in all: the place behind the last one.
    end: u64,
    keys: VecDeque<u8>,
    /// With what wakes them, if anything has to.
    listeners: BTreeMap<u64, Option<Arc<EventFd>>>,
    typist: Option<u64>,
    next: u64,
}

/// Whether a listener wants to type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyboard {
    /// It does not.
    No,
    /// If nobody else does.
    IfFree,
    /// Even if somebody else does, who from then on only listens.
    Take,
}

impl ConsoleHub {
    /// A console without a guest.
    ///
    /// # Errors
    /// The host has no eventfd left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Inner { state: Mutex::default(), news: EventFd::new(EFD_NONBLOCK)? })))
    }

    /// Connects a guest's serial port, whose output is in `ring`, until what is returned is dropped.
    pub fn plug(&self, serial: Arc<Serial>, ring: Arc<ConsoleRing>) -> Plugged {
        self.state().port = Some(Arc::new(Port { serial, ring }));
        self.tell();
        Plugged(self.clone())
    }

    /// Listens from now on, and to the last `history` bytes. `wake`, which must not block, is written when there is more.
    pub fn listen(&self, keyboard: Keyboard, history: usize, wake: Option<Arc<EventFd>>) -> Listener {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.listeners.insert(number, wake);
        let history = history.min(state.kept.len());
        let at = state.end - history as u64;
        drop(state);
        let listener = Listener { hub: self.clone(), number, at };
        listener.reach_for(keyboard);
        listener
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.state().listeners.len()
    }

    /// Signalled when there are keys for the guest, or another port.
    pub(super) fn news(&self) -> &EventFd {
        &self.0.news
    }

    /// The port that is plugged in.
    pub(super) fn port(&self) -> Option<Arc<Port>> {
        self.state().port.clone()
    }

    /// Takes over what the guest has said.
    pub(super) fn hear(&self) {
        self.state().hear();
    }

    /// Gives the guest the keys that it takes.
    pub(super) fn give_keys(&self) {
        let mut state = self.state();
        let Some(port) = state.port.clone().filter(|_| !state.keys.is_empty()) else { return };
        let was_full = state.keys.len() >= KEYS;
        let taken = port.serial.input(state.keys.make_contiguous());
        let taken = taken.min(state.keys.len());
        state.keys.drain(..taken);
        if was_full && taken > 0 {
            // Whoever types has been waiting for room.
            state.typist.and_then(|typist| state.listeners.get(&typist)).into_iter().for_each(wake);
        }
    }

    fn tell(&self) {
        // A full counter is a pending signal, too.
        let _ = self.0.news.write(1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hear(&mut self) {
        let Some(port) = &self.port else { return };
        let mut said = Vec::new();
        // Under the lock of the hub, so that no one else takes what comes after this before it is added.
        port.ring.drain(&mut said);
        self.add(&said);
    }

    fn add(&mut self, said: &[u8]) {
        if said.is_empty() {
            return;
        }
        self.end += said.len() as u64;
        let newest = said.get(said.len().saturating_sub(KEPT)..).unwrap_or_default();
        let too_many = (self.kept.len() + newest.len()).saturating_sub(KEPT);
        self.kept.drain(..too_many);
        self.kept.extend(newest);
        self.listeners.values().for_each(wake);
    }
}

fn wake(listener: &Option<Arc<EventFd>>) {
    if let Some(listener) = listener {
        // A full counter is a pending wake-up, too.
        let _ = listener.write(1);
    }
}

/// A port that is plugged in.
#[derive(Debug)]
pub struct Plugged(ConsoleHub);

impl Drop for Plugged {
    fn drop(&mut self) {
        let mut state = self.0.state();
        // The guest's last words; what was typed for it is for no other.
        state.hear();
        state.port = None;
        state.keys.clear();
        drop(state);
        self.0.tell();
    }
}

/// What came of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// So many of them wait for the guest now; there is no room for more.
    Taken(usize),
    /// None: somebody else types.
    NotTheTypist,
}

/// Somebody who listens, from the place where it was on.
#[derive(Debug)]
pub struct Listener {
    hub: ConsoleHub,
    number: u64,
    /// Place of the first byte that it has not read.
    at: u64,
}

/// What one [`Listener::read`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Bytes added.
    pub bytes: usize,
    /// Bytes before them that are not kept any more.
    pub missed: u64,
}

impl Listener {
    /// Adds what was said, `most` bytes at most, to `out`.
    pub fn read(&mut self, most: usize, out: &mut Vec<u8>) -> Heard {
        let state = self.hub.state();
        let first = state.end - state.kept.len() as u64;
        let missed = first.saturating_sub(self.at);
        let at = self.at.max(first);
        let start = usize::try_from(at - first).unwrap_or(usize::MAX).min(state.kept.len());
        let bytes = (state.kept.len() - start).min(most);
        let (front, back) = state.kept.as_slices();
        let of_front = front.get(start.min(front.len())..).unwrap_or_default();
        let of_front = of_front.get(..bytes.min(of_front.len())).unwrap_or_default();
        out.extend_from_slice(of_front);
        let from = start.saturating_sub(front.len());
        out.extend_from_slice(back.get(from..from + bytes - of_front.len()).unwrap_or_default());
        self.at = at + bytes as u64;
        Heard { bytes, missed }
    }

    /// Leaves out all that was said so far.
    pub fn skip(&mut self) {
        self.at = self.hub.state().end;
    }

    /// Types.
    pub fn type_keys(&self, keys: &[u8]) -> Typed {
        let mut state = self.hub.state();
        if state.typist != Some(self.number) {
            return Typed::NotTheTypist;
        }
        let taken = keys.len().min(KEYS.saturating_sub(state.keys.len()));
        state.keys.extend(keys.iter().take(taken));
        drop(state);
        self.hub.tell();
        Typed::Taken(taken)
    }

    /// Whether its keys reach the guest.
    pub fn is_typist(&self) -> bool {
        self.hub.state().typist == Some(self.number)
    }

    /// Wants to type, or no more.
    pub fn reach_for(&self, keyboard: Keyboard) {
        let mut state = self.hub.state();
        let before = state.typist;
        state.typist = match (keyboard, before) {
            (Keyboard::Take, _) | (Keyboard::IfFree, None) => Some(self.number),
            (Keyboard::No, Some(typist)) if typist == self.number => None,
            (_, before) => before,
        };
        if state.typist != before {
            before.and_then(|before| state.listeners.get(&before)).into_iter().for_each(wake);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.reach_for(Keyboard::No);
        self.hub.state().listeners.remove(&self.number);
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
pub(in crate::console) mod tests;
