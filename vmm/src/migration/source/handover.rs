//! The guest stands: what is left of it is sent, and the machine handed over.

use std::time::{Duration, Instant};

use devices::{chain, say};

use super::super::ownership::{Memory, SourceEvent as Event};
use super::super::storage::Trust;
use super::super::wire::{Fate, Message};
use super::super::witness::Finding;
use super::telling::question;
use super::{Departure, Downtime, Phase};
use crate::dirty::PageSet;

/// How long until the destination is asked again what became of the machine, at first and at most.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

impl Departure<'_> {
    /// Stops the guest, and sends all that is left of it, or has its memory follow it.
    pub(super) fn stop(&mut self, memory: Memory) -> Event {
        let began = Instant::now();
        self.stopped = Some(began);
        let state = match self.machine.stop() {
            Ok(state) => state,
            Err(why) => return self.because(Event::Cancel, why),
        };
        let since = self.lap(|downtime| &mut downtime.stop, began);
        self.note(Phase::Standing);
        let mut set = std::mem::replace(&mut self.left, PageSet::none(&self.ram));
        match self.machine.written() {
            Ok(written) => set.add(&written),
            Err(why) => return self.because(Event::Cancel, why),
        }
        let since = match self.send_rest(set, memory, state, since) {
            Ok(since) => since,
            Err(event) => return event,
        };
        if memory == Memory::Before {
            self.progress.left = 0;
        }
        match self.reader.read() {
            Ok(Message::Ready) => {
                self.lap(|downtime| &mut downtime.load, since);
                Event::PeerReady
            }
            Ok(Message::Failed(message)) => {
                self.because(Event::PeerFailed, format!("the destination could not take it over: {message}"))
            }
            Ok(_) => self.because(Event::Lost, "the destination says what makes no sense".into()),
            Err(error) => self.lost(&error),
        }
    }

    /// Sends the last pages, unless they are to follow, and the machine's state, and waits for none of them to arrive until all are on
    /// their way.
    fn send_rest(
        &mut self,
        set: PageSet,
        memory: Memory,
        state: Vec<u8>,
        since: Instant,
    ) -> Result<Instant, Event> {
        if memory == Memory::Before {
            let cancel = self.cancel.clone();
            match self.sender.send(&self.ram, &set, &|| cancel.is_asked()) {
                Ok(copied) => self.progress.sent = self.progress.sent.saturating_add(copied.sent),
                Err(error) => return Err(self.not_copied(&error)),
            }
        }
        self.send_disks()?;
        self.send_samples()?;
        let round = self.mark()?;
        if memory == Memory::Behind {
            self.leave_behind(set).map_err(|why| self.because(Event::Cancel, why))?;
            self.sender.to.write(&Message::Behind).map_err(|error| self.lost(&error))?;
        }
        let since = self.lap(|downtime| &mut downtime.rest, since);
        self.sender.to.write(&Message::State(state)).map_err(|error| self.lost(&error))?;
        self.taken(round)?;
        Ok(self.lap(|downtime| &mut downtime.send, since))
    }

    /// Notes how long a part of the downtime took; when the next one begins.
    fn lap(&mut self, part: fn(&mut Downtime) -> &mut Duration, since: Instant) -> Instant {
        let now = Instant::now();
        *part(&mut self.downtime) = now.saturating_duration_since(since);
        now
    }

    pub(super) fn record(&mut self) -> Event {
        let began = Instant::now();
        // Before it is written down: who ends the machine from now on has to know that it may say so.
        if !self.cancel.hand_over() {
            return self.because(Event::Cancel, "it was cancelled".into());
        }
        self.note(Phase::HandingOver);
        match self.machine.record() {
            Ok(()) => {
                self.recording = began.elapsed();
                Event::Recorded
            }
            Err(why) => {
                self.cancel.taken_back();
                self.because(Event::NotRecorded, why)
            }
        }
    }

    pub(super) fn hand_over(&mut self) -> Event {
        let since = Instant::now();
        if let Err(why) = self.machine.let_disks_go() {
            return self.not_told(why);
        }
        if !self.cancel.may_go() {
            return self.not_told("the machine has ended".into());
        }
        if let Err(error) = self.sender.to.write(&Message::Go) {
            return self.because(Event::Lost, chain(&error));
        }
        match self.reader.read() {
            Ok(Message::Running) => {
                self.downtime.hand_over = self.recording.saturating_add(since.elapsed());
                Event::PeerRunning
            }
            Ok(Message::Failed(message)) => {
                self.because(Event::PeerFailed, format!("the destination could not take it over: {message}"))
            }
            Ok(_) => self.because(Event::Lost, "the destination says what makes no sense".into()),
            Err(error) => self.because(Event::Lost, chain(&error)),
        }
    }

    /// The destination has not been told to go, and is not any more.
    fn not_told(&mut self, why: String) -> Event {
        // If it does not arrive, the connection's end says the same.
        let _ = self.sender.to.write(&Message::Failed(why.clone()));
        self.because(Event::Told(Fate::Never), why)
    }

    /// Asks the destination what became of the machine, until it answers or an operator does.
    pub(super) fn ask(&mut self) -> Event {
        let (mut pause, most) = ASK_AGAIN;
        let mut said = String::new();
        self.cancel.fell_silent();
        if self.never_ran(pause) {
            return self.by_proof();
        }
        self.note(Phase::Asking);
        loop {
            match question(self.dial, &self.session) {
                // It lives and is finding out. Free disks prove nothing about it: it may not have taken them yet, or have its own.
                Ok(Fate::Open) => self.cancel.answered_open(),
                Ok(fate) => return Event::Told(fate),
                Err(_) => self.cancel.fell_silent(),
            }
            // Disks that can be had are proof that no process has the machine at this moment; that none has had it is what the
            // operator vouches for, where they do not say otherwise.
            if self.cancel.is_forced() {
                match self.machine.take_disks_back(Trust::Operator) {
                    Ok(()) => return Event::Told(Fate::Never),
                    Err(why) => say_once(&mut said, why),
                }
            }
            if self.never_ran(pause) {
                return self.by_proof();
            }
            pause = pause.saturating_mul(2).min(most);
        }
    }

    /// Waits for so long, or until it is proven that the destination has not run the machine and never will.
    fn never_ran(&mut self, pause: Duration) -> bool {
        match self.proof.as_ref().map(|proof| proof.find(pause)) {
            Some(Finding::NeverRan) => return true,
            Some(Finding::Lives) => return false,
            // It will not say anything else.
            Some(Finding::MayHaveRun) => self.proof = None,
            None => {}
        }
        std::thread::sleep(pause);
        false
    }

    fn by_proof(&mut self) -> Event {
        self.why = None;
        self.because(Event::NeverRan, "the destination's process died before the machine ran there".into())
    }

    /// Takes the disks back from a destination that has let go of them.
    pub(super) fn take_back(&mut self) {
        let (mut pause, most) = ASK_AGAIN;
        let mut said = String::new();
        while let Err(why) = self.machine.take_disks_back(Trust::Destination) {
            say_once(&mut said, why);
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(most);
        }
    }
}

/// Says why a machine that is to be taken back is not yet, unless it was said already.
fn say_once(said: &mut String, why: String) {
    if *said != why {
        say!("kubevmm: the machine cannot be taken back yet: {why}");
        *said = why;
    }
}
