//! The session and what became of it, as all connections see it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::ownership::{Destination, DestinationEvent as Event, DestinationOrder as Order};
use super::super::wire::{Fate, Session};

/// How long a session whose machine will never run here is remembered for a source that has not heard of it.
const MEMORY: Duration = Duration::from_secs(600);

/// The session and what became of it; all connections share it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entry: Mutex<Entry>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    session: Option<Session>,
    state: Destination,
    /// The source may be in doubt: it was told that this side is ready.
    pub(super) was_ready: bool,
    /// The source knows.
    settled: bool,
    /// What another connection's end has taken from the machine, if that is why it will never run here.
    why: Option<String>,
}

impl Entry {
    fn on(&mut self, event: Event) -> Order {
        let (state, order) = self.state.on(event);
        self.state = state;
        self.was_ready |= order == Order::SayReady;
        order
    }
}

impl Ledger {
    pub(super) fn entry(&self) -> MutexGuard<'_, Entry> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn on(&self, event: Event) -> Order {
        let order = self.entry().on(event);
        self.changed.notify_all();
        order
    }

    /// A connection without which the machine cannot run is gone. Whether that is the end of it here.
    pub(super) fn on_lost(&self, why: &str) -> bool {
        let mut entry = self.entry();
        let given_up = entry.on(Event::Lost) == Order::GiveUp;
        if given_up {
            entry.why = Some(why.to_owned());
        }
        drop(entry);
        self.changed.notify_all();
        given_up
    }

    /// Why the machine was given up while its first connection was silent.
    pub(super) fn why(&self) -> String {
        self.entry().why.clone().unwrap_or_else(|| "the source has asked for it back".into())
    }

    /// The one session, if it is not taken.
    pub(super) fn claim(&self, session: &Session) -> bool {
        let mut entry = self.entry();
        let free = entry.session.is_none();
        if free {
            entry.session = Some(session.clone());
        }
        free
    }

    /// What became of the machine of this session; `None` if this process has not heard of it. Another process may have run it:
    /// one that was at this address before.
    pub(super) fn answer(&self, session: &Session) -> Option<Fate> {
        if self.entry().session.as_ref() != Some(session) {
            return None;
        }
        match self.on(Event::Ask) {
            Order::Answer(fate) => Some(fate),
            // Nothing is held before `Go`.
            _ => Some(Fate::Never),
        }
    }

    /// Whether memory of this session's machine may be missing here.
    pub(super) fn awaits_memory(&self, session: &Session) -> bool {
        let entry = self.entry();
        entry.session.as_ref() == Some(session) && entry.state != Destination::Never
    }

    pub(super) fn settle(&self) {
        self.entry().settled = true;
        self.changed.notify_all();
    }

    /// Stays while the source may be in doubt about a machine that will never run here, or until `is_over`.
    pub(super) fn linger(&self, is_over: impl Fn() -> bool) {
        const LOOK: Duration = Duration::from_millis(100);
        let mut left = MEMORY;
        let mut entry = self.entry();
        while entry.was_ready && !entry.settled && entry.state == Destination::Never && !left.is_zero() {
            if is_over() {
                return;
            }
            left = left.saturating_sub(LOOK);
            entry = match self.changed.wait_timeout(entry, LOOK) {
                Ok((entry, _)) => entry,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}
