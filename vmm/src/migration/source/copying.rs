//! Rounds of copying, while the guest runs.

use std::time::Instant;

use devices::chain;

use super::super::copy::CopyError;
use super::super::ownership::{Memory, SourceEvent as Event};
use super::super::rounds::{self, Verdict};
use super::super::wire::{Message, Round};
use super::lanes::last_words;
use super::{Departure, Phase};
use crate::dirty::PageSet;

impl Departure<'_> {
    /// Copies memory, round after round, until the rest fits into the downtime.
    pub(super) fn copy(&mut self) -> Event {
        self.note(Phase::Copying);
        let began = Instant::now();
        if let Err(event) = self.copy_disks() {
            return event;
        }
        let mut set = self.machine.touched();
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
                Verdict::Stop => return Event::Converged(Memory::Before),
                Verdict::Follow => return Event::Converged(Memory::Behind),
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
        let copied = match self.sender.send(&self.ram, set, &|| cancel.is_asked()) {
            Ok(copied) => copied,
            Err(error) => return Err(self.not_copied(&error)),
        };
        self.progress.sent = self.progress.sent.saturating_add(copied.sent);
        let disks = self.send_disks()?;
        let waiting = Instant::now();
        self.barrier()?;
        let left = self.machine.written().map_err(|why| self.because(Event::Cancel, why))?;
        self.disks.look();
        let round = rounds::Round {
            sent: copied.sent.saturating_add(disks.sent),
            sending: copied.sending.saturating_add(disks.took).saturating_add(waiting.elapsed()),
            took: began.elapsed(),
            left: left.len().saturating_mul(ram::PAGE as u64).saturating_add(self.disks.left()),
        };
        Ok((round, left))
    }

    /// Waits until all that was sent has arrived.
    pub(super) fn barrier(&mut self) -> Result<(), Event> {
        let round = self.mark()?;
        self.taken(round)
    }

    /// What follows from pages that could not be sent.
    pub(super) fn not_copied(&mut self, error: &CopyError) -> Event {
        match error {
            CopyError::Wire(error) => self.lost(error),
            // What the destination has against the whole it says on the first connection.
            CopyError::Lane { said: None, .. } if !self.cancel.is_asked() => {
                match last_words(&self.first, &mut self.reader) {
                    Some(message) => self.given_up(&message),
                    None => self.because(Event::Lost, chain(error)),
                }
            }
            CopyError::Lane { .. } if !self.cancel.is_asked() => self.because(Event::Lost, chain(error)),
            CopyError::Cancelled | CopyError::Lane { .. } => {
                self.because(Event::Cancel, "it was cancelled".into())
            }
            CopyError::Memory(_) | CopyError::Disk(_) | CopyError::Host(_) => {
                self.because(Event::Cancel, chain(error))
            }
        }
    }

    /// Marks the end of a round on all connections.
    pub(super) fn mark(&mut self) -> Result<Round, Event> {
        self.barriers = self.barriers.saturating_add(1);
        let round = Round { number: self.barriers };
        self.sender.mark(round).map_err(|error| self.not_copied(&error))?;
        Ok(round)
    }

    /// Waits until the destination says that it has all of a round.
    pub(super) fn taken(&mut self, round: Round) -> Result<(), Event> {
        match self.reader.read() {
            Ok(Message::RoundTaken(taken)) if taken == round => Ok(()),
            Ok(Message::Failed(message)) => Err(self.given_up(&message)),
            Ok(_) => Err(self.because(Event::Lost, "the destination says what makes no sense".into())),
            Err(error) => Err(self.lost(&error)),
        }
    }
}
