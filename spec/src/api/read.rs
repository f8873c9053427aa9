//! From the positioned tree to typed objects: every fault is noted with its path, and reading goes on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::de::{Deserialize, Deserializer, Error as _};

use super::kind::{Field, Kind, ObjectType};
use super::names::nearest;
use crate::admit::Reason;
use crate::source::{Node, Value as NodeValue};

/// A value that can stand in a manifest.
pub trait Value: Sized + Default {
    /// The type, for `explain`, `schema` and the support table.
    const KIND: Kind;
    /// Reads the value; a fault is noted in the reader and gives the default.
    fn read(node: &Node, reader: &mut Reader) -> Self;
    /// The value as it is written.
    fn to_json(&self) -> serde_json::Value;
    /// Whether the value is left out when written.
    fn is_absent(&self) -> bool;
    /// Whether the value, though given, says nothing: empty text, which Go's API cannot tell from absence.
    fn is_void(&self) -> bool {
        false
    }
}

/// A fault found while reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The kind of fault.
    pub reason: Reason,
    /// The path of the value, e.g. `spec.domain.cpu.cores`.
    pub path: String,
    /// The value is `null` where one is needed. A cluster's schema refuses that without naming the field.
    pub is_null: bool,
    /// What is wrong and what to do.
    pub message: String,
}

/// Where in the document the reading stands, and what was wrong so far.
#[derive(Debug, Default)]
pub struct Reader {
    path: String,
    faults: Vec<Fault>,
}

impl Reader {
    /// The most faults kept for one document; beyond them nobody reads on.
    const MAX_FAULTS: usize = 200;

    /// The faults found.
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// Notes a fault at the present path.
    pub fn fault(&mut self, reason: Reason, message: String) {
        if self.faults.len() < Self::MAX_FAULTS {
            self.faults.push(Fault { reason, path: self.path.clone(), is_null: false, message });
        }
    }

    /// Notes a value of the wrong type.
    pub fn wrong_type(&mut self, wanted: &str, node: &Node) {
        let given = match &node.value {
            value @ (NodeValue::List(_) | NodeValue::Map(_) | NodeValue::Null) => value.describe().to_owned(),
            value => format!("{value} ({})", value.describe()),
        };
        self.fault(Reason::TypeInvalid, format!("must be {wanted}, not {given}"));
    }

    /// Does something one step further down the path.
    pub fn at_key<T>(&mut self, key: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !plain {
            let _ = write!(self.path, "[{key}]");
        } else if self.path.is_empty() {
            self.path.push_str(key);
        } else {
            let _ = write!(self.path, ".{key}");
        }
        let result = work(self);
        self.path.truncate(length);
        result
    }

    /// Does something for one item of a list.
    pub fn at_index<T>(&mut self, index: usize, work: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        let _ = write!(self.path, "[{index}]");
        let result = work(self);
        self.path.truncate(length);
        result
    }

    /// Reads the entries of an object through `set`, which says whether it knows the key.
    ///
    /// `null` is absence. Unknown keys and missing required ones are faults.
    pub fn object(
        &mut self,
        node: &Node,
        object: &'static ObjectType,
        set: &mut dyn FnMut(&str, &Node, &mut Self) -> bool,
    ) {
        if !matches!(node.value, NodeValue::Map(_)) {
            if !node.is_null() {
                self.wrong_type("an object (lines of \"name: value\")", node);
            }
            return;
        }
        for entry in node.entries() {
            self.at_key(&entry.key, |reader| {
                let known = if entry.node.is_null() {
                    object.field(&entry.key).is_some()
                } else {
                    set(&entry.key, &entry.node, reader)
                };
                if !known {
                    reader.unknown(&entry.key, object);
                }
            });
        }
        for field in object.fields().filter(|field| field.required) {
            self.require(node, field);
        }
    }

    fn require(&mut self, node: &Node, field: &Field) {
        let given = node.get(field.name);
        if given.is_none_or(Node::is_null) {
            let message = format!("is missing: give {} ({})", field.name, field.kind.describe());
            let count = self.faults.len();
            self.at_key(field.name, |reader| reader.fault(Reason::Required, message));
            self.faults.iter_mut().skip(count).for_each(|fault| fault.is_null = given.is_some());
        }
    }

    /// Notes an unknown key, with the name it most likely stands for. A status is written by clusters of any release
    /// and ignored, so that nothing in it is a fault.
    fn unknown(&mut self, key: &str, object: &'static ObjectType) {
        if self.path.starts_with("status.") || self.faults.len() >= Self::MAX_FAULTS {
            return;
        }
        let shown = crate::text::shorten(key, 60);
        let message = match nearest(key, object.fields().map(|field| field.name)) {
            Some(name) => format!("unknown field {shown:?}: did you mean {name:?}?"),
            None => match home_of(key, object) {
                Some(home) => format!("unknown field {shown:?} here: it belongs into {home}"),
                None => format!("unknown field {shown:?}: {} has no such field", object.name),
            },
        };
        self.fault(Reason::Invalid, message);
    }
}

/// The child object that has a field of this name, for keys that were indented one level too little.
fn home_of(key: &str, object: &'static ObjectType) -> Option<&'static str> {
    let has = |field: &&Field| field.kind.object().is_some_and(|child| child.field(key).is_some());
    object.fields().find(has).map(|field| field.name)
}

/// Reads a value from any serde format by way of the tree, with the same rules as from a manifest.
///
/// # Errors
/// The first fault.
pub fn deserialize<'de, T: Value, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let node = Node::deserialize(deserializer)?;
    let mut reader = Reader::default();
    let value = T::read(&node, &mut reader);
    match reader.into_faults().into_iter().next() {
        None => Ok(value),
        Some(fault) => Err(D::Error::custom(format_args!("{}: {}", fault.path, fault.message))),
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: Kind = T::KIND;

    fn read(node: &Node, reader: &mut Reader) -> Self {
        Some(T::read(node, reader)).filter(|value| !value.is_void())
    }

    fn to_json(&self) -> serde_json::Value {
        self.as_ref().map(T::to_json).unwrap_or_default()
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Value> Value for Box<T> {
    const KIND: Kind = T::KIND;

    fn read(node: &Node, reader: &mut Reader) -> Self {
        Self::new(T::read(node, reader))
    }

    fn to_json(&self) -> serde_json::Value {
        self.as_ref().to_json()
    }

    fn is_absent(&self) -> bool {
        self.as_ref().is_absent()
    }
}

impl<T: Value> Value for Vec<T> {
    const KIND: Kind = Kind::List(&T::KIND);

    fn read(node: &Node, reader: &mut Reader) -> Self {
        let NodeValue::List(items) = &node.value else {
            reader.wrong_type("a list (lines beginning with \"- \")", node);
            return Self::new();
        };
        let read = |(index, item): (usize, &Node)| reader.at_index(index, |reader| T::read(item, reader));
        items.iter().enumerate().map(read).collect()
    }

    fn to_json(&self) -> serde_json::Value {
        self.iter().map(T::to_json).collect()
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    const KIND: Kind = Kind::Map(&T::KIND);

    fn read(node: &Node, reader: &mut Reader) -> Self {
        if !matches!(node.value, NodeValue::Map(_)) {
            reader.wrong_type("a mapping of names to values", node);
            return Self::new();
        }
        let mut map = Self::new();
        for entry in node.entries() {
            let value = reader.at_key(&entry.key, |reader| {
                if entry.node.is_null() { T::default() } else { T::read(&entry.node, reader) }
            });
            map.insert(entry.key.to_string(), value);
        }
        map
    }

    fn to_json(&self) -> serde_json::Value {
        self.iter().map(|(name, value)| (name.clone(), value.to_json())).collect()
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}
