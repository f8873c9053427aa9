//! Watches: a line for every change, as Kubernetes streams them (apimachinery/pkg/watch).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{Progress, Stream};
use super::http::Response;
use super::router::Call;
use super::routes::migrations::Pick;
use super::{Deletion, failure};
use crate::status::{self, Board, Subscription};

/// What a watch is to show.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// The machine.
    Machine,
    /// Its events.
    Events,
    /// Its migrations, as far as they are asked for.
    Migrations(Pick),
}

/// A watch of the machine, its events or its migrations.
#[derive(Debug)]
pub(super) struct Watch {
    board: Board,
    _subscription: Subscription,
    subject: Subject,
    /// Nothing is shown: what is watched is not selected.
    is_blind: bool,
    /// Resource version of the machine or a migration, or number of the event, that was shown last.
    shown: u64,
    /// The machine was shown, or the migrations that there were.
    is_known: bool,
    ends: Option<Instant>,
    deletion: Deletion,
}

impl Watch {
    /// The watch that `call` asks for. What is not selected is watched all the same, without a word.
    ///
    /// # Errors
    /// The response to a query that makes no sense.
    pub(super) fn new(call: &Call<'_>, subject: Subject, is_selected: bool) -> Result<Self, Response> {
        let number = |key: &str| match call.query.get(key) {
            None | Some("") => Ok(0),
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| failure::bad_request(&format!("{key} is no number: {text:?}"))),
        };
        let (version, seconds) = (number("resourceVersion")?, number("timeoutSeconds")?);
        let board = call.context.board.clone();
        let subscription = board.watch(call.wake());
        let shown = match subject {
            Subject::Machine | Subject::Migrations(_) => version,
            Subject::Events => events_until(&board, version),
        };
        let limit = (seconds > 0).then(|| Duration::from_secs(seconds));
        Ok(Self {
            board,
            _subscription: subscription,
            subject,
            is_blind: !is_selected,
            shown,
            is_known: version > 0,
            deletion: call.context.deletion.clone(),
            ends: limit.and_then(|limit| Instant::now().checked_add(limit)),
        })
    }

    fn show_machine(&mut self, out: &mut Vec<u8>) {
        if !self.is_known {
            let current = self.board.current();
            line(status::Change::Added, &current.text, out);
            (self.is_known, self.shown) = (true, current.version);
        }
        for published in self.board.since(self.shown) {
            line(status::Change::Modified, &published.text, out);
            self.shown = published.version;
        }
    }

    fn show_events(&mut self, out: &mut Vec<u8>) {
        for event in self.board.events(self.shown) {
            line(status::Change::Added, &event.text, out);
            self.shown = event.number;
        }
    }

    fn show_migrations(&mut self, pick: &Pick, out: &mut Vec<u8>) {
        if !self.is_known {
            // What became of those that are gone already is no news. It is asked before the others are, so that nothing is missed.
            self.shown = self.board.migrations_since(0).last().map_or(0, |change| change.version);
            for migration in self.board.migrations() {
                self.shown = self.shown.max(migration.version);
                if pick.picks(&migration) {
                    line(status::Change::Added, &migration.text, out);
                }
            }
            self.is_known = true;
        }
        for migration in self.board.migrations_since(self.shown) {
            self.shown = migration.version;
            if pick.picks(&migration) {
                line(migration.change, &migration.text, out);
            }
        }
    }
}

/// Number of the last event that is not younger than the resource version.
fn events_until(board: &Board, version: u64) -> u64 {
    let old = board.events(0).into_iter().take_while(|event| event.version <= version);
    old.last().map_or(0, |event| event.number)
}

fn line(change: status::Change, object: &Arc<str>, out: &mut Vec<u8>) {
    let change = match change {
        status::Change::Added => "ADDED",
        status::Change::Modified => "MODIFIED",
        status::Change::Deleted => "DELETED",
    };
    out.extend_from_slice(format!("{{\"type\":\"{change}\",\"object\":{object}}}\n").as_bytes());
}

impl Stream for Watch {
    fn advance(&mut self, out: &mut Vec<u8>) -> Progress {
        if !self.is_blind {
            match self.subject.clone() {
                Subject::Machine => self.show_machine(out),
                Subject::Events => self.show_events(out),
                Subject::Migrations(pick) => self.show_migrations(&pick, out),
            }
        }
        match self.ends {
            Some(ends) if ends <= Instant::now() => Progress::Ends,
            _ => Progress::Goes,
        }
    }

    fn farewell(&mut self, out: &mut Vec<u8>) {
        let progress = self.advance(out);
        let is_shown = matches!(self.subject, Subject::Machine) && !self.is_blind;
        if progress == Progress::Goes && is_shown && self.deletion.is_asked() {
            line(status::Change::Deleted, &self.board.current().text, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.ends
    }
}
