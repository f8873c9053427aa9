//! Readers of plain values: text, booleans, whole numbers.

use super::kind::Kind;
use super::read::{Reader, Value};
use crate::source::{Node, Value as NodeValue};

impl Value for String {
    const KIND: Kind = Kind::Text;

    fn read(node: &Node, reader: &mut Reader) -> Self {
        match &node.value {
            NodeValue::Text(text) => text.to_string(),
            NodeValue::Null => Self::new(),
            NodeValue::Bool(_) | NodeValue::Number(_) => {
                reader.wrong_type("text: put it in quotes", node);
                Self::new()
            }
            _ => {
                reader.wrong_type("text", node);
                Self::new()
            }
        }
    }

    fn to_json(&self) -> serde_json::Value {
        self.as_str().into()
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn is_void(&self) -> bool {
        self.is_empty()
    }
}

impl Value for bool {
    const KIND: Kind = Kind::Bool;

    fn read(node: &Node, reader: &mut Reader) -> Self {
        match &node.value {
            NodeValue::Bool(value) => *value,
            NodeValue::Text(text) if matches!(&**text, "true" | "false") => {
                reader.wrong_type("true or false without quotes", node);
                false
            }
            _ => {
                reader.wrong_type("true or false", node);
                false
            }
        }
    }

    fn to_json(&self) -> serde_json::Value {
        (*self).into()
    }

    fn is_absent(&self) -> bool {
        !self
    }
}

/// The whole number that a decimal such as `12`, `1e3` or `4.0` stands for.
fn whole(text: &str) -> Option<i128> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let quantity: super::Quantity = text.parse().ok()?;
    quantity.whole()
}

/// Reads a whole number within bounds.
fn integer(node: &Node, reader: &mut Reader, min: i128, max: i128) -> i128 {
    let value = match &node.value {
        NodeValue::Number(text) => whole(text),
        NodeValue::Text(text) if text.parse::<i128>().is_ok() => {
            reader.wrong_type("a whole number without quotes", node);
            return 0;
        }
        _ => None,
    };
    let Some(value) = value else {
        reader.wrong_type("a whole number", node);
        return 0;
    };
    if value < min || value > max {
        let message = format!("must be between {min} and {max}, not {value}");
        reader.fault(crate::admit::Reason::Invalid, message);
        return 0;
    }
    value
}

macro_rules! integers {
    ($($int:ty)*) => {$(
        #[expect(clippy::cast_lossless, reason = "From is not const, and both bounds fit into i128")]
        impl Value for $int {
            const KIND: Kind = Kind::Int(<$int>::MIN as i128, <$int>::MAX as i128);

            fn read(node: &Node, reader: &mut Reader) -> Self {
                let value = integer(node, reader, <$int>::MIN as i128, <$int>::MAX as i128);
                Self::try_from(value).unwrap_or_default()
            }

            fn to_json(&self) -> serde_json::Value {
                (*self).into()
            }

            fn is_absent(&self) -> bool {
                *self == 0
            }
        }
    )*};
}
integers!(u16 u32 u64 i32 i64);

/// Content that is only carried, such as the status of another controller's object.
impl Value for serde_json::Value {
    const KIND: Kind = Kind::Any;

    fn read(node: &Node, _: &mut Reader) -> Self {
        json(node)
    }

    fn to_json(&self) -> serde_json::Value {
        self.clone()
    }

    fn is_absent(&self) -> bool {
        self.is_null()
    }
}

/// The tree as JSON; numbers that JSON cannot write stay text.
fn json(node: &Node) -> serde_json::Value {
    use serde_json::Value;
    match &node.value {
        NodeValue::Null => Value::Null,
        NodeValue::Bool(value) => Value::Bool(*value),
        NodeValue::Text(text) => Value::String(text.to_string()),
        NodeValue::Number(text) => match serde_json::from_str(text) {
            Ok(number) => Value::Number(number),
            Err(_) => Value::String(text.to_string()),
        },
        NodeValue::List(items) => Value::Array(items.iter().map(json).collect()),
        NodeValue::Map(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.to_string(), json(&entry.node))).collect())
        }
    }
}
