//! Keeps what a fleet is at what it ought to be.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use devices::say;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::clock::{chance, now};
use super::instance::{Instance, Step};
use super::orders::{Inbox, Wish as Asked};
use super::process::{self, Found, Running};
use super::record::{Key, Record, Scale};
use super::replicas::{self, Replica};
use super::strategy::Strategy;
use super::view::View;
use super::wanted::{Owner, Wanted};
use super::{Folder, Launch, backoff};
use crate::open::RuntimeDir;
use crate::state::{Done, Refusal, RefusalKind};
use crate::sys::signals::{Signals, Wish};

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
    /// The record is not on the disk as it is here.
    changed: bool,
}

/// The earlier of two times, where none is never.
fn earlier(a: Option<Duration>, b: Duration) -> Option<Duration> {
    Some(a.map_or(b, |a| a.min(b)))
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
            changed: true,
        };
        this.take_over();
        Ok(this)
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
        if force {
            self.running.values().for_each(Running::stop);
        }
    }

    /// Finds the machines of an earlier supervisor.
    fn take_over(&mut self) {
        let ids: BTreeSet<String> = self.wanted.iter().map(Wanted::id).collect();
        let keys: Vec<Key> = self.record.instances.keys().cloned().collect();
        for key in keys {
            if let Some(instance) = self.record.instances.get_mut(&key) {
                instance.leaving |= !ids.contains(&instance.owner);
                // It may be told again.
                instance.stopping = None;
            }
            match Running::find(&self.record.launch.runtime, &key) {
                Found::Running(process) => self.adopt(&key, process),
                Found::Unknown => {}
                Found::None => self.ended(&key),
            }
        }
    }

    /// Looks after a process that runs already.
    fn adopt(&mut self, key: &Key, process: Running) {
        say!("kubevmm: {key} runs already: it is looked after from now on");
        let now = now();
        if let Some(instance) = self.record.instances.get_mut(key)
            && !instance.up
        {
            instance.starts_at(now);
        }
        self.watch(key, process);
    }

    fn watch(&mut self, key: &Key, process: Running) {
        let (fd, token) = (process.as_fd().as_raw_fd(), self.next_token);
        if let Err(error) = self.events.ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, token)) {
            // It is found again when its end is looked for.
            say!("kubevmm: {key} cannot be watched: {error}");
            return;
        }
        self.next_token += 1;
        self.tokens.insert(token, key.clone());
        self.running.insert(key.clone(), process);
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

    /// Makes the machines that an object has too few of, and lets those go that it has too many of.
    fn populate(&mut self, wanted: &Wanted, now: u64) -> Option<Duration> {
        let id = wanted.id();
        let (replicas, paused, strategy) = match &wanted.owner {
            Owner::Instance => return self.populate_one(wanted, Strategy::Once),
            Owner::Machine(strategy) => return self.populate_one(wanted, *strategy),
            Owner::Set { replicas, paused, .. } => (*replicas, *paused, Strategy::Once),
            Owner::Pool { strategy, replicas, paused } => (*replicas, *paused, *strategy),
        };
        if paused {
            return None;
        }
        let scale = self.record.scales.get(&id).cloned().unwrap_or_default();
        let is_set = matches!(wanted.owner, Owner::Set { .. });
        let there: Vec<Replica> = (self.record.instances.iter())
            .filter(|(_, instance)| instance.owner == id && !instance.leaving)
            .map(|(key, instance)| Replica {
                name: key.name.clone(),
                over: is_set && instance.last.is_some(),
                up: instance.up,
                made: instance.made,
            })
            .collect();
        let count = usize::try_from(scale.replicas.unwrap_or(replicas)).unwrap_or(usize::MAX);
        let change = replicas::balance(count, &there);
        for name in change.fewer {
            let key = Key { name, ..wanted.key.clone() };
            if let Some(instance) = self.record.instances.get_mut(&key) {
                instance.leaving = true;
                self.changed = true;
            }
        }
        if change.more > 0 && now < scale.not_before {
            return Some(Duration::from_secs(scale.not_before - now));
        }
        for _ in 0..change.more {
            let name = self.new_name(wanted);
            self.insert(wanted, name, strategy);
        }
        None
    }

    fn populate_one(&mut self, wanted: &Wanted, strategy: Strategy) -> Option<Duration> {
        match self.record.instances.get_mut(&wanted.key) {
            Some(instance) if instance.owner == wanted.id() => {
                // What the manifest says may have changed between two supervisors.
                (instance.strategy, instance.grace) = (strategy, wanted.grace);
            }
            // The name is another object's as yet, which leaves.
            Some(_) => {}
            None => self.insert(wanted, wanted.key.name.clone(), strategy),
        }
        None
    }

    fn insert(&mut self, wanted: &Wanted, name: String, strategy: Strategy) {
        let made = self.record.instances.values().map(|instance| instance.made + 1).max().unwrap_or_default();
        let key = Key { name, ..wanted.key.clone() };
        self.record.instances.insert(key, Instance::new(wanted.id(), strategy, wanted.grace, made));
        self.changed = true;
    }

    fn new_name(&self, wanted: &Wanted) -> String {
        let namespace = &wanted.key.namespace;
        let mut taken: BTreeSet<String> = (self.record.instances.keys())
            .filter(|key| key.namespace == *namespace)
            .map(|key| key.name.clone())
            .collect();
        taken.extend(
            self.wanted
                .iter()
                .filter(|other| other.key.namespace == *namespace)
                .map(|other| other.key.name.clone()),
        );
        match &wanted.owner {
            Owner::Set { base, .. } => replicas::name(base, chance(), &taken),
            _ => replicas::numbered(&wanted.key.name, &taken).next().unwrap_or_default(),
        }
    }

    fn start(&mut self, key: &Key, now: u64) -> Option<Duration> {
        // Whatever runs it now, another must not.
        match Running::find(&self.record.launch.runtime, key) {
            Found::Running(process) => {
                self.adopt(key, process);
                return None;
            }
            Found::Unknown => return Some(SOON),
            Found::None => {}
        }
        let instance = self.record.instances.get_mut(key)?;
        let object = instance.owner.clone();
        instance.starts_at(now);
        let starts = instance.starts;
        // First, so that a supervisor that comes after this one knows of it.
        self.changed = true;
        self.save();
        match Running::start(&self.record.launch, &self.folder, key, &object, starts) {
            Ok(process) => {
                say!("kubevmm: {key} starts");
                self.watch(key, process);
                None
            }
            Err(error) => {
                say!("kubevmm: {key} cannot be started: {error}");
                self.ended(key);
                Some(Duration::from_secs(1))
            }
        }
    }

    fn stop(&mut self, key: &Key, now: u64) -> Option<Duration> {
        say!("kubevmm: {key} is asked to stop");
        self.running.get(key).map(Running::stop);
        let instance = self.record.instances.get_mut(key)?;
        instance.stopping = Some(now);
        self.changed = true;
        match instance.step(now, self.closing) {
            Step::WaitUntil(time) => Some(Duration::from_secs(time.saturating_sub(now).max(1))),
            _ => None,
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(instance) = self.record.instances.remove(key) {
            self.folder.forget(key, instance.starts);
            // How it ended interests nobody any more. What cannot be removed is cleared by the next machine of this name.
            let _ = RuntimeDir::remove(&self.record.launch.runtime, &key.namespace, &key.name);
            self.changed = true;
        }
    }

    /// The process of a machine is gone.
    fn ended(&mut self, key: &Key) {
        if let Some(process) = self.running.remove(key) {
            process.reap();
        }
        self.tokens.retain(|_, other| other != key);
        let Some(instance) = self.record.instances.get_mut(key).filter(|instance| instance.up) else {
            return;
        };
        let report = self.folder.exit(key, instance.starts);
        let (end, now, chance) = (process::end(&report), now(), chance());
        // Its contents are in the record now.
        let _ = std::fs::remove_file(report);
        let came_up = instance.came_up(now) || instance.stopping.is_some();
        instance.ended(end, now, chance);
        say!("kubevmm: {key} ended: {end:?}");
        let owner = instance.owner.clone();
        self.count_failure(&owner, came_up, now, chance);
        self.changed = true;
    }

    /// Machines of a set are replaced rather than started again: it is the set that waits.
    fn count_failure(&mut self, owner: &str, came_up: bool, now: u64, chance: u64) {
        let is_set = |wanted: &Wanted| matches!(wanted.owner, Owner::Set { .. }) && wanted.id() == owner;
        if !self.wanted.iter().any(is_set) {
            return;
        }
        let scale = self.record.scales.entry(owner.to_owned()).or_default();
        if came_up {
            *scale = Scale { replicas: scale.replicas, ..Scale::default() };
        } else if now >= scale.not_before {
            // Several that end together count once.
            scale.failures = scale.failures.saturating_add(1);
            scale.not_before = now + backoff::pause(scale.failures, chance).as_secs();
        }
    }

    fn save(&mut self) {
        if !self.changed {
            return;
        }
        match self.folder.write(&self.record) {
            Ok(()) => self.changed = false,
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

    /// Does what others ask for.
    fn asked(&mut self) {
        while let Some((wish, reply)) = self.inbox.take() {
            let done = self.obey(wish);
            if done.is_ok() {
                self.changed = true;
            }
            reply.send(done);
        }
    }

    fn obey(&mut self, wish: Asked) -> Result<Done, Refusal> {
        match wish {
            Asked::Start(key) => self.machine(&key)?.start(&key),
            Asked::Stop(key) => self.machine(&key)?.stop(&key),
            Asked::Restart(key) => self.machine(&key)?.restart(&key),
            Asked::Scale { id, replicas } => {
                let scale = self.record.scales.entry(id).or_default();
                *scale = Scale { replicas: Some(replicas), ..Scale::default() };
                Ok(Done::Begun)
            }
        }
    }

    /// The machine of a VirtualMachine, its own or a pool's.
    fn machine(&mut self, key: &Key) -> Result<&mut Instance, Refusal> {
        let missing = || {
            Refusal::new(
                RefusalKind::NotFound,
                format!("virtualmachines.kubevirt.io \"{}\" not found", key.name),
            )
        };
        let is_vm = |instance: &Instance| {
            instance.owner.starts_with("VirtualMachine/") || instance.owner.starts_with("VirtualMachinePool/")
        };
        self.record
            .instances
            .get_mut(key)
            .filter(|instance| is_vm(instance) && !instance.leaving)
            .ok_or_else(missing)
    }

    fn signalled(&mut self) {
        while let Some(wish) = self.signals.next() {
            match wish {
                Wish::End => {
                    if self.closing {
                        say!("kubevmm: machines that still run are ended by force");
                    }
                    self.close(self.closing);
                }
                Wish::GoOn => {}
            }
        }
    }
}
