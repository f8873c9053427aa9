//! The statuses applied to a document: one walk over the tree and the types.

use crate::admit::{Findings, Reason};
use crate::api::kind::{Field, Kind, ObjectType, Support, When};
use crate::source::{Node, Value};

/// Reports every field that is given and not honoured.
pub(crate) fn check(root: &Node, kind: Kind, findings: &mut Findings<'_>) {
    if let Kind::Object(object) = kind {
        check_object(root, object, &mut String::new(), findings);
    }
}

fn check_object(node: &Node, object: &'static ObjectType, path: &mut String, findings: &mut Findings<'_>) {
    for entry in node.entries().iter().filter(|entry| !entry.node.is_null()) {
        let Some(field) = object.field(&entry.key) else { continue };
        let length = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(field.name);
        let is_refused = report(&entry.node, field, path, findings);
        if !is_refused {
            descend(&entry.node, &field.kind, path, findings);
        }
        path.truncate(length);
    }
}

/// Reports the field itself; true when its parts need no further word.
fn report(node: &Node, field: &'static Field, path: &str, findings: &mut Findings<'_>) -> bool {
    match field.support {
        Support::Honoured => false,
        Support::Cluster => true,
        Support::Warning(when, reason) => {
            let applies = holds(when, node);
            if applies {
                findings.warn(path, reason);
            }
            // A part may still be refused; but its own warnings would only repeat this one.
            applies && !field.kind.has_refusals()
        }
        Support::NotSupported(when, reason) => {
            let applies = holds(when, node);
            if applies {
                findings.put(Reason::NotSupported, path, reason);
            }
            applies
        }
    }
}

fn descend(node: &Node, kind: &Kind, path: &mut String, findings: &mut Findings<'_>) {
    match (kind, &node.value) {
        (Kind::Object(object), Value::Map(_)) => check_object(node, object, path, findings),
        (Kind::List(item), Value::List(items)) => {
            for (index, node) in items.iter().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                descend(node, item, path, findings);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Whether a value is one that the support entry speaks of.
fn holds(when: When, node: &Node) -> bool {
    let word = match &node.value {
        Value::Text(text) => Some(&**text),
        _ => None,
    };
    let enabled = || node.get("enabled").is_none_or(|value| value.value != Value::Bool(false));
    match when {
        When::Given => match &node.value {
            Value::List(items) => !items.is_empty(),
            Value::Text(text) => !text.is_empty(),
            Value::Bool(value) => *value,
            Value::Number(number) => **number != *"0",
            _ => true,
        },
        When::True => node.value == Value::Bool(true),
        When::False => node.value == Value::Bool(false),
        When::On => enabled(),
        When::Off => !enabled(),
        When::OneOf(words) => word.is_some_and(|word| words.contains(&word)),
        When::NoneOf(words) => word.is_some_and(|word| !word.is_empty() && !words.contains(&word)),
    }
}
