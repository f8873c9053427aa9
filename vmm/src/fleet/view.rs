//! A fleet's objects as others see them, with the status that KubeVirt gives them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::instance::Instance;
use super::wanted::{Owner, Wanted};
use super::{Key, Record, Strategy};
use crate::status::{VMI_FILE, rfc3339};

/// One object with its machines.
#[derive(Clone, Debug)]
pub struct ObjectView {
    /// What the manifest asks for.
    pub wanted: Wanted,
    /// How many machines it is to have.
    pub replicas: u32,
    /// Its machines.
    pub machines: Vec<(Key, Instance)>,
}

/// What a fleet is, for everyone to look at. Clones show the same; one thread writes.
#[derive(Clone, Debug, Default)]
pub struct View(Arc<Mutex<Arc<Vec<ObjectView>>>>);

impl View {
    /// All objects as they are.
    pub fn objects(&self) -> Arc<Vec<ObjectView>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows `wanted` with what `record` knows of it.
    pub(super) fn show(&self, wanted: &[Wanted], record: &Record) {
        let objects = wanted.iter().map(|wanted| ObjectView::new(wanted, record)).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(objects);
    }
}

impl ObjectView {
    fn new(wanted: &Wanted, record: &Record) -> Self {
        let id = wanted.id();
        let own = record.instances.iter().filter(|(_, instance)| instance.owner == id);
        let machines = own.map(|(key, instance)| (key.clone(), instance.clone())).collect();
        let changed = record.scales.get(&id).and_then(|scale| scale.replicas);
        let replicas = changed.unwrap_or(match wanted.owner {
            Owner::Instance | Owner::Machine(_) => 1,
            Owner::Set { replicas, .. } | Owner::Pool { replicas, .. } => replicas,
        });
        Self { wanted: wanted.clone(), replicas, machines }
    }

    /// How many of its machines are ready, as their own status in the runtime root says.
    pub fn ready(&self, root: &Path) -> usize {
        self.machines.iter().filter(|(key, instance)| instance.up && is_ready(root, key)).count()
    }

    /// Its state in one word, as KubeVirt's `printableStatus` for a VirtualMachine.
    pub fn state(&self, root: &Path, now: u64) -> &'static str {
        let Some((key, machine)) = self.machines.first() else { return "Stopped" };
        if machine.stopping.is_some() {
            "Stopping"
        } else if machine.up {
            if is_paused(root, key) {
                "Paused"
            } else if phase(root, key).is_some_and(|phase| phase == "Running") {
                "Running"
            } else {
                "Starting"
            }
        } else if machine.not_before > now && machine.strategy.wants_it_up(machine.order, machine.last) {
            "CrashLoopBackOff"
        } else {
            "Stopped"
        }
    }

    /// The object with its status.
    pub fn to_json(&self, root: &Path, now: u64) -> Value {
        let mut object = self.wanted.object.clone();
        if let Some(object) = object.as_object_mut() {
            object.insert("status".into(), self.status(root, now));
            if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
                && matches!(self.wanted.owner, Owner::Set { .. } | Owner::Pool { .. })
            {
                spec.insert("replicas".into(), self.replicas.into());
            }
        }
        object
    }

    fn status(&self, root: &Path, now: u64) -> Value {
        let ready = self.ready(root);
        match &self.wanted.owner {
            Owner::Machine(strategy) => {
                let machine = self.machines.first().map(|(_, machine)| machine);
                let mut status = json!({
                    "created": machine.is_some_and(|machine| machine.up),
                    "ready": ready > 0,
                    "printableStatus": self.state(root, now),
                    "runStrategy": strategy_name(*strategy),
                });
                if let (Some(machine), Some(status)) = (machine, status.as_object_mut())
                    && machine.failures > 0
                {
                    let until = rfc3339(machine.not_before);
                    let failure =
                        json!({"consecutiveFailCount": machine.failures, "retryAfterTimestamp": until});
                    status.insert("startFailure".into(), failure);
                }
                status
            }
            Owner::Instance => {
                own_status(root, &self.wanted.key).unwrap_or_else(|| json!({"phase": "Pending"}))
            }
            Owner::Set { .. } | Owner::Pool { .. } => {
                json!({"replicas": self.machines.len(), "readyReplicas": ready, "labelSelector": self.selector()})
            }
        }
    }

    /// The labels that the object knows its machines by, as text.
    pub fn selector(&self) -> String {
        let labels = self.wanted.object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        let label = |(key, value): (&String, &Value)| Some(format!("{key}={}", value.as_str()?));
        labels.into_iter().flatten().filter_map(label).collect::<Vec<_>>().join(",")
    }
}

/// The word of the API.
fn strategy_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Always => "Always",
        Strategy::Halted => "Halted",
        Strategy::Manual => "Manual",
        Strategy::RerunOnFailure => "RerunOnFailure",
        Strategy::Once => "Once",
    }
}

/// What a machine's process says of it.
fn own_status(root: &Path, key: &Key) -> Option<Value> {
    let text = std::fs::read(root.join(&key.namespace).join(&key.name).join(VMI_FILE)).ok()?;
    serde_json::from_slice::<Value>(&text).ok()?.get_mut("status").map(Value::take)
}

fn phase(root: &Path, key: &Key) -> Option<String> {
    own_status(root, key)?.get("phase")?.as_str().map(str::to_owned)
}

fn has_condition(root: &Path, key: &Key, name: &str) -> bool {
    let status = own_status(root, key).unwrap_or_default();
    let conditions = status.get("conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == name && condition["status"] == "True")
}

fn is_ready(root: &Path, key: &Key) -> bool {
    has_condition(root, key, "Ready")
}

fn is_paused(root: &Path, key: &Key) -> bool {
    has_condition(root, key, "Paused")
}
