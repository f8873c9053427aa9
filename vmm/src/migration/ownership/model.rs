//! All that can happen to two processes and the connection between them, tried in every order.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::*;
use crate::migration::wire::Fate;

/// What is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Note {
    State,
    Ready,
    Go,
    Running,
    Failed,
}

/// A process and what of it outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Process<S> {
    Lives(S),
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    source: Process<Source>,
    destination: Process<Destination>,
    /// In order; a connection that is lost drops all of them.
    to_destination: VecDeque<Note>,
    to_source: VecDeque<Note>,
    connected: bool,
    /// Each side hears of a lost connection at its own time.
    source_knows: bool,
    destination_knows: bool,
    source_asks: bool,
    /// Who holds the disks' locks: a process that dies lets go of them.
    source_locks: bool,
    destination_locks: bool,
    /// The guest executes something, there.
    source_runs: bool,
    destination_runs: bool,
    /// The guest has executed something at the destination, ever.
    moved: bool,
}

impl World {
    fn first() -> Self {
        Self {
            source: Process::Lives(Source::Copying),
            destination: Process::Lives(Destination::Receiving),
            to_destination: VecDeque::new(),
            to_source: VecDeque::new(),
            connected: true,
            source_knows: false,
            destination_knows: false,
            source_asks: false,
            source_locks: true,
            destination_locks: false,
            source_runs: true,
            destination_runs: false,
            moved: false,
        }
    }

    fn send(&mut self, to_source: bool, note: Note) {
        if self.connected {
            if to_source { &mut self.to_source } else { &mut self.to_destination }.push_back(note);
        }
    }

    fn source_on(&self, event: SourceEvent) -> Option<Self> {
        let Process::Lives(state) = self.source else { return None };
        let mut next = self.clone();
        let (after, order) = state.on(event);
        next.source = Process::Lives(after);
        match order {
            SourceOrder::Nothing | SourceOrder::Refuse | SourceOrder::Record => {}
            SourceOrder::StopGuest => {
                next.source_runs = false;
                next.send(false, Note::State);
            }
            SourceOrder::HandOver => {
                next.source_locks = false;
                next.send(false, Note::Go);
            }
            SourceOrder::GoOn => {
                next.source_runs = true;
                next.send(false, Note::Failed);
            }
            SourceOrder::TakeBack => {
                assert!(!next.destination_locks, "the disks cannot be taken back: {self:?}");
                next.source_asks = false;
                (next.source_locks, next.source_runs) = (true, true);
            }
            SourceOrder::Ask => next.source_asks = true,
            SourceOrder::End => next.source = Process::Dead,
        }
        Some(next)
    }

    fn destination_on(&self, event: DestinationEvent) -> Option<Self> {
        let Process::Lives(state) = self.destination else { return None };
        let mut next = self.clone();
        let (after, order) = state.on(event);
        next.destination = Process::Lives(after);
        match order {
            DestinationOrder::Nothing | DestinationOrder::Take => {}
            DestinationOrder::SayReady => next.send(true, Note::Ready),
            DestinationOrder::Run => {
                assert!(!next.source_locks, "the disks cannot be had: {self:?}");
                (next.destination_locks, next.destination_runs, next.moved) = (true, true, true);
                next.send(true, Note::Running);
            }
            DestinationOrder::GiveUp => {
                next.destination_locks = false;
                next.send(true, Note::Failed);
            }
            DestinationOrder::GiveUpAndAnswer => {
                next.destination_locks = false;
                return next.source_on(SourceEvent::Told(Fate::Never));
            }
            DestinationOrder::Answer(fate) => return next.source_on(SourceEvent::Told(fate)),
        }
        Some(next)
    }

    /// All that may happen next.
    fn steps(&self) -> Vec<Self> {
        let mut steps = Vec::new();
        if let Process::Lives(state) = self.source {
            steps.extend(self.source_on(SourceEvent::Cancel));
            match state {
                Source::Copying => steps.extend(self.source_on(SourceEvent::Converged)),
                Source::Recording => {
                    steps.extend(self.source_on(SourceEvent::Recorded));
                    steps.extend(self.source_on(SourceEvent::NotRecorded));
                }
                _ => {}
            }
            let mut dead = self.clone();
            (dead.source, dead.source_runs, dead.source_locks, dead.source_asks) =
                (Process::Dead, false, false, false);
            dead.connected = false;
            dead.to_destination.clear();
            dead.to_source.clear();
            steps.push(dead);
            let mut next = self.clone();
            if let Some(note) = next.to_source.pop_front() {
                steps.extend(match note {
                    Note::Ready => next.source_on(SourceEvent::PeerReady),
                    Note::Running => next.source_on(SourceEvent::PeerRunning),
                    Note::Failed => next.source_on(SourceEvent::PeerFailed),
                    Note::State | Note::Go => None,
                });
            } else if !self.connected && !self.source_knows {
                next.source_knows = true;
                steps.extend(next.source_on(SourceEvent::Lost));
            }
        }
        if let Process::Lives(state) = self.destination {
            if state == Destination::Taking {
                // The locks are the arbiter: without them, it does not run.
                if !self.source_locks {
                    steps.extend(self.destination_on(DestinationEvent::Taken));
                }
                steps.extend(self.destination_on(DestinationEvent::NotTaken));
            }
            if self.source_asks {
                steps.extend(self.destination_on(DestinationEvent::Ask));
            }
            let mut dead = self.clone();
            (dead.destination, dead.destination_runs, dead.destination_locks) = (Process::Dead, false, false);
            dead.connected = false;
            dead.to_destination.clear();
            dead.to_source.clear();
            steps.push(dead);
            let mut next = self.clone();
            if let Some(note) = next.to_destination.pop_front() {
                steps.extend(match note {
                    Note::State => next.destination_on(DestinationEvent::Loaded),
                    Note::Go => next.destination_on(DestinationEvent::Go),
                    Note::Failed => next.destination_on(DestinationEvent::PeerFailed),
                    Note::Ready | Note::Running => None,
                });
                // It may also come and make no sense.
                steps.extend(match note {
                    Note::State => next.destination_on(DestinationEvent::Failed),
                    _ => None,
                });
            } else if !self.connected && !self.destination_knows {
                next.destination_knows = true;
                steps.extend(next.destination_on(DestinationEvent::Lost));
            }
        }
        if self.connected {
            // What is on its way may still arrive before either side knows, or not.
            let mut cut = self.clone();
            cut.connected = false;
            steps.push(cut.clone());
            cut.to_destination.clear();
            steps.push(cut.clone());
            cut.to_source.clear();
            steps.push(cut);
        }
        steps
    }
}

/// All worlds that can come about.
fn worlds() -> HashSet<World> {
    let mut seen = HashSet::from([World::first()]);
    let mut left = vec![World::first()];
    while let Some(world) = left.pop() {
        for next in world.steps() {
            if seen.insert(next.clone()) {
                left.push(next);
            }
        }
    }
    seen
}

#[test]
fn never_do_both_run_and_never_does_the_source_run_after_the_destination() {
    let all = worlds();
    assert!(all.len() > 100, "{}", all.len());
    for world in &all {
        assert!(!(world.source_runs && world.destination_runs), "both run: {world:?}");
        assert!(!(world.source_locks && world.destination_locks), "both hold the disks: {world:?}");
        assert!(!(world.source_runs && world.moved), "the source runs what has moved: {world:?}");
        assert!(!world.source_runs || world.source_locks, "it runs without its disks: {world:?}");
        assert!(!world.destination_runs || world.destination_locks, "it runs without its disks: {world:?}");
        if let Process::Lives(source) = world.source {
            assert!(!world.source_runs || source.may_run(), "{world:?}");
        }
        if let Process::Lives(destination) = world.destination {
            assert_eq!(world.destination_runs, destination.may_run(), "{world:?}");
        }
    }
}

#[test]
fn while_both_processes_live_the_machine_runs_in_the_end() {
    for world in worlds() {
        let lives = |world: &World| world.source_runs || world.destination_runs;
        let is_lost = |world: &World| {
            world.source == Process::Dead && !world.moved && !world.destination_runs
                || world.destination == Process::Dead
        };
        if is_lost(&world) {
            continue;
        }
        // Without further failures, however messages come: all that is left to happen leads to a machine that runs.
        let mut seen = HashSet::from([world.clone()]);
        let mut left = vec![world.clone()];
        let mut reached = lives(&world);
        while let (false, Some(at)) = (reached, left.pop()) {
            for next in at.steps() {
                let died = (next.source == Process::Dead && at.source != Process::Dead && !next.moved)
                    || (next.destination == Process::Dead && at.destination != Process::Dead);
                reached |= lives(&next);
                if !died && seen.insert(next.clone()) {
                    left.push(next);
                }
            }
        }
        assert!(reached, "nobody will run it: {world:?}");
    }
}

#[test]
fn a_source_that_cannot_know_stands_still() {
    // The destination dies after `Go`: whether it ran is not to be known, so the source asks for ever.
    let in_doubt = worlds().into_iter().filter(|world| {
        world.destination == Process::Dead && world.source == Process::Lives(Source::HandedOver)
    });
    let moved: BTreeSet<bool> = in_doubt.map(|world| world.moved).collect();
    assert_eq!(moved, BTreeSet::from([false, true]));
}
