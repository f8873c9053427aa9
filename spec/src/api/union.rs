//! Alternatives written in line with the other fields of an object.

use serde_json::Map;

use super::kind::Field;
use super::read::Reader;
use crate::source::Node;

/// A set of keys of which an object holds exactly one; made by the `union!` macro.
pub trait Union: Sized {
    /// One entry an alternative.
    const FIELDS: &'static [Field];
    /// Takes the key if it is one of the alternatives, and says whether it was.
    fn read_key(&mut self, key: &str, node: &Node, reader: &mut Reader) -> bool;
    /// Writes the alternative taken as an entry of the object.
    fn write(&self, map: &mut Map<String, serde_json::Value>);
}
