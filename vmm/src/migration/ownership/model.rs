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
    /// The destination has struck out that it has not run the machine.
    struck: bool,
    /// The source sees that, and whether the destination's process is gone.
    sees: bool,
    /// A part of the memory is nowhere but at the source.
    lacks: bool,
    /// The source has ended because nobody needs it any more.
    ended: bool,
}

impl World {
    fn first(sees: bool) -> Self {
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
            struck: false,
            sees,
            lacks: false,
            ended: false,
        }
    }

    /// Whether it is for nobody but an operator to say that the destination, which is dead, has not run the machine.
    fn leaves_doubt(&self) -> bool {
        self.struck || !self.sees
    }

    /// The connection is lost with all that is on its way.
    fn disconnect(&mut self) {
        self.connected = false;
        self.to_destination.clear();
        self.to_source.clear();
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
            SourceOrder::Serve => next.source_asks = false,
            SourceOrder::StopGuest(memory) => {
                next.source_runs = false;
                next.lacks = memory == Memory::Behind;
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
            SourceOrder::End => (next.source, next.source_asks, next.ended) = (Process::Dead, false, true),
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
                assert!(next.struck, "the source may think that it has not run: {self:?}");
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
                Source::Copying => {
                    steps.extend(self.source_on(SourceEvent::Converged(Memory::Before)));
                    steps.extend(self.source_on(SourceEvent::Converged(Memory::Behind)));
                }
                Source::Serving if !self.lacks => steps.extend(self.source_on(SourceEvent::Served)),
                Source::HandedOver(_) if self.destination == Process::Dead && !self.leaves_doubt() => {
                    steps.extend(self.source_on(SourceEvent::NeverRan));
                }
                Source::Recording(_) => {
                    steps.extend(self.source_on(SourceEvent::Recorded));
                    steps.extend(self.source_on(SourceEvent::NotRecorded));
                }
                _ => {}
            }
            let mut dead = self.clone();
            (dead.source, dead.source_runs, dead.source_locks, dead.source_asks) =
                (Process::Dead, false, false, false);
            dead.disconnect();
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
            if let (Process::Lives(source), true) = (self.source, self.lacks) {
                // By connections of its own, which are made again when they are lost.
                if source.has_memory() && state != Destination::Never {
                    steps.push(Self { lacks: false, ..self.clone() });
                }
                // Unless the machine has not been handed over.
                if matches!(state, Destination::Receiving | Destination::Ready) {
                    steps.extend(self.destination_on(DestinationEvent::Lost));
                }
            }
            if state == Destination::Taking {
                steps.push(Self { struck: true, ..self.clone() });
                // The locks are the arbiter: without them, it does not run.
                if self.struck && !self.source_locks {
                    steps.extend(self.destination_on(DestinationEvent::Taken));
                }
                steps.extend(self.destination_on(DestinationEvent::NotTaken));
            }
            if self.source_asks {
                steps.extend(self.destination_on(DestinationEvent::Ask));
            }
            let mut dead = self.clone();
            (dead.destination, dead.destination_runs, dead.destination_locks) = (Process::Dead, false, false);
            dead.disconnect();
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
    let mut left = vec![World::first(false), World::first(true)];
    let mut seen: HashSet<_> = left.iter().cloned().collect();
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
        assert!(!(world.ended && world.lacks), "memory is gone that is needed: {world:?}");
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
        let lives = |world: &World| world.source_runs || world.destination_runs && !world.lacks;
        let is_lost = |world: &World| {
            world.source == Process::Dead && (world.lacks || !world.moved && !world.destination_runs)
                || world.destination == Process::Dead
                    && (world.leaves_doubt() || world.source == Process::Dead)
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
                let needed = !next.moved || next.lacks;
                let died = (next.source == Process::Dead && at.source != Process::Dead && needed)
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
        let is_handed_over = matches!(world.source, Process::Lives(Source::HandedOver(_)));
        world.destination == Process::Dead && is_handed_over && world.leaves_doubt()
    });
    let seen: BTreeSet<_> = in_doubt
        .inspect(|world| assert!(world.steps().iter().all(|next| !next.source_runs), "it goes on: {world:?}"))
        .map(|world| (world.sees, world.moved))
        .collect();
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_source_that_sees_that_its_machine_never_ran_goes_on_by_itself() {
    let all = worlds();
    let stands = all.iter().filter(|world| {
        let is_handed_over = matches!(world.source, Process::Lives(Source::HandedOver(_)));
        world.destination == Process::Dead && is_handed_over && !world.leaves_doubt()
    });
    assert!(stands.clone().count() > 0);
    for world in stands {
        assert!(!world.moved && world.steps().iter().any(|next| next.source_runs), "{world:?}");
    }
}

#[test]
fn a_machine_whose_memory_follows_it_dies_with_either_side_and_is_never_run_twice() {
    let all = worlds();
    let halves = |world: &&World| world.moved && world.lacks;
    // The destination dies: what is here is old, and is not run.
    let mut left = all.iter().filter(halves).filter(|world| world.destination == Process::Dead);
    assert!(left.clone().any(|world| world.source == Process::Lives(Source::Serving)));
    assert!(left.all(|world| !world.source_runs));
    // The source dies: the machine there waits for ever for what it lacks.
    assert!(all.iter().filter(halves).any(|world| world.source == Process::Dead && world.destination_runs));
}
