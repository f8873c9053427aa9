//! Keeps what a fleet is at what it ought to be.

mod numbers;
mod processes;
#[cfg(test)]
mod tests;
mod wishes;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use devices::say;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::clock::now;
use super::instance::{Instance, Step};
use super::moves::Moves;
use super::orders::Inbox;
use super::process::Running;
use super::record::{Key, Record};
use super::view::View;
use super::wanted::Wanted;
use super::{Folder, Launch};
use crate::sys::signals::Signals;

/// Tokens of signals and of what others ask for; machines have those after them.
const SIGNALS: u64 = 0;
const INBOX: u64 = 1;
/// How soon one looks again at a machine whose process does not say what it is.
const SOON: Duration = Duration::from_millis(100);

/// The supervisor cannot go on. Its machines do.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Its descriptors failed.
    #[error("waiting for machines failed")]
    Events(#[from] io::Error),
}

/// What looks after a fleet.
#[derive(Debug)]
pub struct Supervisor {
    folder: Folder,
    record: Record,
    wanted: Vec<Wanted>,
    running: BTreeMap<Key, Running>,
    /// Machines by their tokens.
    tokens: BTreeMap<u64, Key>,
    next_token: u64,
    events: Epoll,
    signals: Signals,
    inbox: Inbox,
    view: View,
    closing: bool,
    /// Its end was asked for a second time, which ends no machine by force that may move.
    insists: bool,
    /// The record is not on the disk as it is here.
    changed: bool,
    /// Exit reports whose contents are in the record here, and not in that on the disk perhaps.
    read: Vec<PathBuf>,
    /// Migrations of its machines, if there is anybody who carries them out.
    moves: Option<Moves>,
}

/// The earlier of two times, where none is never.
fn earlier(a: Option<Duration>, b: Duration) -> Option<Duration> {
    Some(a.map_or(b, |a| a.min(b)))
}

/// Tells all machines something, and waits until each was told: none waits for another one that does not answer.
fn at_once(running: &BTreeMap<Key, Running>, tell: impl Fn(&Key, &Running) + Sync) {
    let tell = &tell;
    thread::scope(|scope| {
        for (key, process) in running {
            let thread = thread::Builder::new().name("tell".into()).stack_size(256 << 10);
            if thread.spawn_scoped(scope, move || tell(key, process)).is_err() {
                // The host has no more threads.
                tell(key, process);
            }
        }
    });
}

impl Supervisor {
    /// A supervisor for what is `wanted`; it carries on from what an earlier one recorded in `folder`. `signals` are
    /// blocked already.
    ///
    /// # Errors
    /// The host has no descriptors left.
    pub fn new(
        folder: Folder,
        launch: Launch,
        wanted: Vec<Wanted>,
        signals: Signals,
        inbox: Inbox,
    ) -> io::Result<Self> {
        let events = Epoll::new()?;
        events.ctl(ControlOperation::Add, inbox.fd(), EpollEvent::new(EventSet::IN, INBOX))?;
        events.ctl(
            ControlOperation::Add,
            signals.as_fd().as_raw_fd(),
            EpollEvent::new(EventSet::IN, SIGNALS),
        )?;
        let record = match folder.record() {
            Some(mut earlier) => {
                earlier.launch = launch;
                earlier
            }
            None => Record::new(launch),
        };
        let (running, tokens) = (BTreeMap::new(), BTreeMap::new());
        let mut this = Self {
            folder,
            record,
            wanted,
            running,
            tokens,
            next_token: INBOX + 1,
            events,
            signals,
            inbox,
            view: View::default(),
            closing: false,
            insists: false,
            changed: true,
            read: Vec::new(),
            moves: None,
        };
        this.take_over();
        Ok(this)
    }

    /// The same with machines that `moves` moves: what they have left stays until it was looked at.
    pub fn with_moves(self, moves: Moves) -> Self {
        Self { moves: Some(moves), ..self }
    }

    /// What everyone can see of the fleet.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Runs until the fleet is to end and its last machine has. `settled` is called once all that can be started at
    /// once has been.
    ///
    /// # Errors
    /// Waiting failed; the machines go on, and another supervisor can take them over.
    pub fn run(mut self, settled: impl FnOnce()) -> Result<(), SupervisorError> {
        let mut settled = Some(settled);
        loop {
            let deadline = self.settle();
            if self.changed {
                self.view.show(&self.wanted, &self.record);
            }
            self.save();
            if let Some(settled) = settled.take() {
                settled();
            }
            if self.closing && self.running.is_empty() {
                self.folder.remove();
                return Ok(());
            }
            self.wait(deadline)?;
        }
    }

    /// Has all machines end, by force if need be, and then itself.
    pub fn close(&mut self, force: bool) {
        self.closing = true;
        if !force {
            return;
        }
        self.tell_all(Running::force, Instance::forced_at);
    }

    /// Has no machine move any more: their guests power off.
    fn power_off(&mut self) {
        self.tell_all(Running::power_off, Instance::powers_off_at);
    }

    fn tell_all(&mut self, tell: impl Fn(&Running, &Path, &Key) + Sync, note: impl Fn(&mut Instance, u64)) {
        at_once(&self.running, |key, process| tell(process, &self.record.launch.runtime, key));
        for key in self.running.keys() {
            if let Some(instance) = self.record.instances.get_mut(key) {
                note(instance, now());
            }
        }
        self.changed = true;
    }

    /// Makes everything as it ought to be, as far as that can be done at once; gives back how long to wait for the rest.
    fn settle(&mut self) -> Option<Duration> {
        let now = now();
        let mut deadline = None;
        if !self.closing {
            for wanted in self.wanted.clone() {
                if let Some(later) = self.populate(&wanted, now) {
                    deadline = earlier(deadline, later);
                }
            }
        }
        let steps: Vec<(Key, Step)> = self
            .record
            .instances
            .iter()
            .map(|(key, instance)| (key.clone(), instance.step(now, self.closing)))
            .collect();
        for (key, step) in steps {
            let later = match step {
                Step::Nothing => None,
                Step::WaitUntil(time) => Some(Duration::from_secs(time.saturating_sub(now).max(1))),
                Step::Start => self.start(&key, now),
                Step::Stop => self.stop(&key, now),
                Step::Kill => {
                    say!("kubevmm: {key} has not ended in time: its process is killed");
                    self.running.get(&key).map(Running::kill);
                    Some(Duration::from_secs(1))
                }
                Step::Forget if self.moves.as_ref().is_some_and(|moves| moves.looks_at(&key)) => Some(SOON),
                Step::Forget => {
                    self.forget(&key);
                    None
                }
            };
            if let Some(later) = later {
                deadline = earlier(deadline, later);
            }
        }
        deadline
    }

    fn save(&mut self) {
        if !self.changed {
            return;
        }
        match self.folder.write(&self.record) {
            Ok(()) => {
                self.changed = false;
                // Until now a supervisor that came after this one would have needed them.
                self.read.drain(..).for_each(|report| drop(std::fs::remove_file(report)));
            }
            // A supervisor that comes after this one would find less; this one goes on, and tries again later.
            Err(error) => say!("kubevmm: the fleet's record cannot be written: {error}"),
        }
    }

    /// Waits until something happens, or `deadline` is over.
    fn wait(&mut self, deadline: Option<Duration>) -> Result<(), SupervisorError> {
        let milliseconds = deadline
            .map_or(-1, |deadline| i32::try_from(deadline.as_millis().saturating_add(1)).unwrap_or(i32::MAX));
        let mut events = [EpollEvent::default(); 64];
        let count = match self.events.wait(milliseconds, &mut events) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error.into()),
        };
        for event in events.iter().take(count) {
            match event.data() {
                SIGNALS => self.signalled(),
                INBOX => self.asked(),
                token => {
                    if let Some(key) = self.tokens.get(&token).cloned() {
                        self.ended(&key);
                    }
                }
            }
        }
        Ok(())
    }
}
