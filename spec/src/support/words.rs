//! Words that a field does not know, for those fields that no rule speaks of.

use crate::admit::Findings;
use crate::api::kind::Kind;
use crate::source::{Node, Value};

/// Notes every unknown word as a doubt. A status is written by clusters of any release and not looked into.
pub(crate) fn check(root: &Node, kind: Kind, findings: &mut Findings<'_>) {
    walk(root, &kind, &mut String::new(), findings);
}

fn walk(node: &Node, kind: &Kind, path: &mut String, findings: &mut Findings<'_>) {
    let length = path.len();
    match (kind, &node.value) {
        (Kind::Choice(words), Value::Text(word)) if !word.is_empty() && !words.contains(&&**word) => {
            let shown = crate::text::shorten(word, 60);
            findings.doubt(path, format!("{shown:?} has no meaning here: use one of {}", words.join(", ")));
        }
        (Kind::Object(object), Value::Map(entries)) => {
            for entry in entries {
                let Some(field) = object.field(&entry.key) else { continue };
                if path.is_empty() && field.name == "status" {
                    continue;
                }
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(field.name);
                walk(&entry.node, &field.kind, path, findings);
                path.truncate(length);
            }
        }
        (Kind::List(item), Value::List(items)) => {
            for (index, node) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                walk(node, item, path, findings);
                path.truncate(length);
            }
        }
        _ => {}
    }
}
