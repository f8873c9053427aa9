//! Who has the machine in the end, and whether that is who has to have it.

use std::thread;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::scene::{DESTINATION, Fate, LOOK, PATIENCE, SOURCE, Scene};
use super::sight::{has_decided, is_in_doubt, is_over, lacks, lines, object, runs, serves, waits};
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Failure, Outcome};
use crate::wait::until;

/// How long a guest that does not run is listened to.
const SILENCE: Duration = Duration::from_millis(400);

impl Scene<'_> {
    /// Waits until both sides have come to an end with it.
    pub(super) fn settle(&mut self) -> Outcome {
        let began = Instant::now();
        loop {
            let are_there = [self.source.is_running()?, self.destination.is_running()?];
            let [here, there] = [&self.source, &self.destination].map(object);
            // Memory that is missing comes, unless nobody gets through or who has it is gone.
            let stands = waits(&there) && (!are_there[0] || self.link.is_dead());
            let is_alone = serves(&here) && (!are_there[1] || self.link.is_dead());
            // Doubt is over in a moment, unless nobody is there who could answer.
            let doubts = self.cell.fault.leaves_doubt() && is_in_doubt(&self.source, &here);
            let source = !are_there[0] || is_over(&here) || doubts || is_alone;
            let decided = has_decided(&self.destination, &there);
            let destination = !are_there[1] || decided && !lacks(&there) || stands;
            if source && destination {
                return Ok(());
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "it does not come to an end: source {source}, destination {destination}; {}",
                self.logs()
            );
            thread::sleep(LOOK);
        }
    }

    /// Who has it. Two never have.
    pub(super) fn judge(&mut self) -> Result<Fate, Failure> {
        let mut alive = self.alive()?;
        ensure!(alive != [true, true], "both run it: {}", self.logs());
        if alive == [false, false] && self.reconnect()? {
            alive = self.alive()?;
        }
        let mut taken_back = false;
        if alive == [false, false] && self.source.is_running()? {
            let here = object(&self.source);
            if serves(&here) {
                self.stays_old()?;
            } else {
                ensure!(
                    is_in_doubt(&self.source, &here),
                    "nobody runs it, and nobody knows why: {}",
                    self.logs()
                );
                ensure!(self.cell.fault.leaves_doubt(), "it is in doubt: {}", self.logs());
                if self.destination_has_taken_it() {
                    // Whoever looks finds that it was the destination's, which is dead: an old memory would be run over a newer disk.
                    return Ok(Fate::Dies);
                }
                self.take_back()?;
                alive = self.alive()?;
                taken_back = true;
            }
        }
        let fate = match alive {
            [true, _] if taken_back => Fate::TakenBack,
            [true, _] => Fate::Stays,
            [_, true] => Fate::Moves,
            _ if waits(&object(&self.destination)) => Fate::Waits,
            _ => Fate::Dies,
        };
        self.is_allowed(fate)?;
        Ok(fate)
    }

    /// Whether the machine may have come to this.
    fn is_allowed(&mut self, fate: Fate) -> Outcome {
        let (fault, tripped) = (self.cell.fault, self.link.has_tripped());
        let allowed = match fate {
            Fate::Dies => match fault {
                Fault::KillSource => true,
                // It was the destination's, and the source knew.
                Fault::KillDestination if self.source.is_running()? => self.cell.way.follows(),
                Fault::KillDestination => self.source.wait_exit(PATIENCE)?.expect(0, "migrated").is_ok(),
                _ => false,
            },
            Fate::Moves => fault != Fault::KillDestination || !tripped,
            Fate::Stays => {
                let is_early = !self.cell.phase.is_after_hand_over();
                fault != Fault::KillSource && fault != Fault::Nothing && is_early || !tripped
            }
            // A source sees by itself that a destination on its host is dead, and whether it can have run the machine.
            Fate::TakenBack => fault == Fault::CutForGood,
            Fate::Waits => self.cell.way.follows() && fault == Fault::KillSource,
        };
        ensure!(allowed, "it {fate:?} after {}: {}", self.cell, self.logs());
        Ok(())
    }

    /// Which of the two guests answer.
    fn alive(&mut self) -> Result<[bool; 2], Failure> {
        let before = [lines(&self.source), lines(&self.destination)];
        // One that has ended is not typed to.
        let asked = [self.source.type_in("c").is_ok(), self.destination.type_in("c").is_ok()];
        ensure!(asked.contains(&true) || self.cell.fault != Fault::Nothing, "nobody listens");
        let began = Instant::now();
        let mut answered = None;
        loop {
            let alive = [lines(&self.source) > before[0], lines(&self.destination) > before[1]];
            let first = *answered.get_or_insert_with(Instant::now);
            if alive == [false, false] {
                answered = None;
            } else if alive == [true, true] || first.elapsed() > SILENCE {
                return Ok(alive);
            }
            let [here, there] = [&self.source, &self.destination].map(object);
            let is_here = self.source.is_running()? && !is_in_doubt(&self.source, &here) && !serves(&here);
            let can = is_here || runs(&there) && !waits(&there);
            if began.elapsed() > if can { PATIENCE } else { SILENCE } {
                return Ok(alive);
            }
            thread::sleep(LOOK);
        }
    }

    /// Both sides get through again, and the machine goes on. False if nobody was cut off who has what the other one needs.
    fn reconnect(&mut self) -> Result<bool, Failure> {
        if !self.link.is_dead() || !serves(&object(&self.source)) || !waits(&object(&self.destination)) {
            return Ok(false);
        }
        self.link.revive();
        until("the rest of the memory", || Ok(!lacks(&object(&self.destination))))?;
        Ok(true)
    }

    /// Nobody can take back a machine whose memory here is old.
    fn stays_old(&self) -> Outcome {
        let (code, text) = beside(self.ctx, SOURCE, &["migrate-cancel", "payload", "--force"])?;
        ensure!(code != Some(0), "migrate-cancel --force took back what has run elsewhere: {text:?}");
        Ok(())
    }

    /// Whether the destination has written down that the machine is its own.
    fn destination_has_taken_it(&self) -> bool {
        let root = self.ctx.scratch.join(DESTINATION).join("default/payload");
        let record = std::fs::read_to_string(root.join("migration.json"));
        record.is_ok_and(|record| record.contains("\"here\""))
    }

    /// Somebody knows that the destination is dead, and never ran it.
    fn take_back(&mut self) -> Outcome {
        let (code, text) = beside(self.ctx, SOURCE, &["migrate-cancel", "payload", "--force"])?;
        ensure!(code == Some(0), "migrate-cancel --force ended with {code:?} and {text:?}");
        until("the machine's return", || Ok(is_over(&object(&self.source))))
    }
}
