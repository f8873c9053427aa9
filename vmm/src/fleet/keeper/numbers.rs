//! How many machines objects have, and by what names.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::clock::chance;
use super::super::instance::Instance;
use super::super::record::Key;
use super::super::replicas::{self, Replica};
use super::super::strategy::Strategy;
use super::super::wanted::{Owner, Wanted};
use super::Supervisor;
use crate::open::RuntimeDir;

impl Supervisor {
    /// Makes the machines that an object has too few of, and lets those go that it has too many of.
    pub(super) fn populate(&mut self, wanted: &Wanted, now: u64) -> Option<Duration> {
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
            _ => {
                // One that may run elsewhere has its name still.
                let root = &self.record.launch.runtime;
                let mut names = replicas::numbered(&wanted.key.name, &taken);
                names.find(|name| RuntimeDir::elsewhere(root, namespace, name).is_none()).unwrap_or_default()
            }
        }
    }
}
