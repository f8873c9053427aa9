//! What a fleet's folder says about it: enough for another supervisor to carry on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::instance::Instance;
use super::{Launch, backoff};

/// Version of the record's form.
const VERSION: u32 = 1;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for Key {
    type Error = BadKey;

    fn try_from(text: String) -> Result<Self, BadKey> {
        text.parse()
    }
}

/// The text is not a namespace and a name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not NAMESPACE/NAME")]
pub struct BadKey(String);

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let parts = text
            .split_once('/')
            .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'));
        let (namespace, name) = parts.ok_or_else(|| BadKey(text.to_owned()))?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// What is known of a set or pool beside its manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scale {
    /// How many machines it is to have, if this was changed.
    pub replicas: Option<u32>,
    /// Machines in a row that ended as soon as they were started.
    pub failures: u32,
    /// No machine is made before this time, in seconds since 1970.
    pub not_before: u64,
}

impl Scale {
    /// A machine of the set ended at `now`; whether it `came_up` before.
    pub fn count(&mut self, came_up: bool, now: u64, chance: u64) {
        if came_up {
            *self = Self { replicas: self.replicas, ..Self::default() };
        } else if now >= self.not_before {
            // Several that end together count once.
            self.failures = self.failures.saturating_add(1);
            self.not_before = now.saturating_add(backoff::pause(self.failures, chance).as_secs());
        }
    }
}

/// The state of a fleet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    version: u32,
    /// How machines are started.
    pub launch: Launch,
    /// Replica sets and pools, by kind and key.
    pub scales: BTreeMap<String, Scale>,
    /// All machines.
    pub instances: BTreeMap<Key, Instance>,
}

impl Record {
    /// Of a fleet that has no machines yet.
    pub fn new(launch: Launch) -> Self {
        Self { version: VERSION, launch, scales: BTreeMap::new(), instances: BTreeMap::new() }
    }

    /// Reads what [`Record::to_text`] wrote; `None` if it is of another version or no record at all.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str::<Self>(text).ok().filter(|record| record.version == VERSION)
    }

    /// As JSON.
    ///
    /// # Errors
    /// Paths that are not UTF-8.
    pub fn to_text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}
