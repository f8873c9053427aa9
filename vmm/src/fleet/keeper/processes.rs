//! The machines' processes: found, started, stopped, and what is done when they end.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use devices::say;
use vmm_sys_util::epoll::{ControlOperation, EpollEvent, EventSet};

use super::super::clock::{chance, now};
use super::super::instance::Step;
use super::super::process::{self, Found, Running};
use super::super::record::Key;
use super::super::wanted::{Owner, Wanted};
use super::{SOON, Supervisor};
use crate::open::RuntimeDir;

impl Supervisor {
    /// Finds the machines of an earlier supervisor.
    pub(super) fn take_over(&mut self) {
        let ids: BTreeSet<String> = self.wanted.iter().map(Wanted::id).collect();
        let keys: Vec<Key> = self.record.instances.keys().cloned().collect();
        for key in keys {
            if let Some(instance) = self.record.instances.get_mut(&key) {
                instance.leaving |= !ids.contains(&instance.owner);
                // It may be told again.
                (instance.stopping, instance.may_move) = (None, false);
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

    pub(super) fn start(&mut self, key: &Key, now: u64) -> Option<Duration> {
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

    pub(super) fn stop(&mut self, key: &Key, now: u64) -> Option<Duration> {
        say!("kubevmm: {key} is asked to stop");
        let (launch, process) = (&self.record.launch, self.running.get(key));
        let evicts = launch.evicts();
        match process {
            // It is not the host that is to be empty: whoever stops a machine does not want it elsewhere.
            Some(process) if evicts && !self.closing => process.power_off(&launch.runtime, key),
            process => drop(process.map(Running::stop)),
        }
        let instance = self.record.instances.get_mut(key)?;
        instance.stopping = Some(now);
        instance.may_move = evicts && self.closing;
        self.changed = true;
        match instance.step(now, self.closing) {
            Step::WaitUntil(time) => Some(Duration::from_secs(time.saturating_sub(now).max(1))),
            _ => None,
        }
    }

    pub(super) fn forget(&mut self, key: &Key) {
        if let Some(instance) = self.record.instances.remove(key) {
            self.folder.forget(key, instance.starts);
            self.changed = true;
            let root = &self.record.launch.runtime;
            if let Some(to) = RuntimeDir::elsewhere(root, &key.namespace, &key.name) {
                say!(
                    "kubevmm: {key} was moved to {to}, and runs there unless that failed: see there first, then kubevmm delete {}",
                    key.name
                );
                return;
            }
            // How it ended interests nobody any more. What cannot be removed is cleared by the next machine of this name.
            let _ = RuntimeDir::remove(root, &key.namespace, &key.name);
        }
    }

    /// The process of a machine is gone.
    pub(super) fn ended(&mut self, key: &Key) {
        if let Some(process) = self.running.remove(key) {
            process.reap();
        }
        self.tokens.retain(|_, other| other != key);
        let Some(instance) = self.record.instances.get_mut(key).filter(|instance| instance.up) else {
            return;
        };
        let report = self.folder.exit(key, instance.starts);
        let (end, now, chance) = (process::end(&report), now(), chance());
        let came_up = instance.came_up(now) || instance.stopping.is_some();
        instance.ended(end, now, chance);
        say!("kubevmm: {key} ended: {end:?}");
        let owner = instance.owner.clone();
        self.count_failure(&owner, came_up, now, chance);
        self.read.push(report);
        self.changed = true;
    }

    /// Machines of a set are replaced rather than started again: it is the set that waits.
    fn count_failure(&mut self, owner: &str, came_up: bool, now: u64, chance: u64) {
        let is_set = |wanted: &Wanted| matches!(wanted.owner, Owner::Set { .. }) && wanted.id() == owner;
        if !self.wanted.iter().any(is_set) {
            return;
        }
        self.record.scales.entry(owner.to_owned()).or_default().count(came_up, now, chance);
    }
}
