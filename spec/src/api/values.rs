//! Kubernetes' small value types: ports by number or name, bytes in base64.

use super::kind::Kind;
use super::read::{Reader, Value};
use crate::admit::Reason;
use crate::base64;
use crate::source::{Node, Value as NodeValue};

/// A whole number or a name, as in the port of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A name.
    Text(String),
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl Value for IntOrString {
    const KIND: Kind = Kind::IntOrString;

    fn read(node: &Node, reader: &mut Reader) -> Self {
        match &node.value {
            NodeValue::Text(text) => Self::Text(text.to_string()),
            NodeValue::Number(_) => Self::Int(Value::read(node, reader)),
            _ => {
                reader.wrong_type("a number or text", node);
                Self::default()
            }
        }
    }

    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Int(value) => (*value).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }

    fn is_absent(&self) -> bool {
        false
    }
}

impl serde::Serialize for IntOrString {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// Bytes, in base64 in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Value for Bytes {
    const KIND: Kind = Kind::Base64;

    fn read(node: &Node, reader: &mut Reader) -> Self {
        let text = <String as Value>::read(node, reader);
        base64::decode(&text).map(Self).unwrap_or_else(|error| {
            reader.fault(Reason::Invalid, format!("is not base64: {error}; use stringData for plain text"));
            Self::default()
        })
    }

    fn to_json(&self) -> serde_json::Value {
        base64::encode(&self.0).into()
    }

    fn is_absent(&self) -> bool {
        false
    }
}

impl serde::Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::encode(&self.0))
    }
}
