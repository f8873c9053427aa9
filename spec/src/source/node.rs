//! The positioned tree: what a manifest holds before it is given types, each value with its line and column.

use std::fmt;

/// Where a value begins in its file; lines and columns count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Mark {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// A value with its position.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// Where the value begins.
    pub mark: Mark,
    /// The value.
    pub value: Value,
}

/// A value of JSON's data model.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `null`, or nothing after a key.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as written (so that no digit is lost).
    Number(Box<str>),
    /// Text.
    Text(Box<str>),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order written; keys are unique.
    Map(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Box<str>,
    /// Where the key begins.
    pub mark: Mark,
    /// The value.
    pub node: Node,
}

impl Node {
    /// A node without a position, for values that come from elsewhere than a file.
    pub fn new(value: Value) -> Self {
        Self { mark: Mark::default(), value }
    }

    /// The value of `key`, where this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The entry of `key`, where this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| *entry.key == *key),
            _ => None,
        }
    }

    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a text value.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The position of the deepest part of `path` that exists, and whether that is the whole path.
    ///
    /// `path` is written as in Kubernetes' messages: `spec.volumes[0].name`, `metadata.annotations[a.b/c]`.
    /// A key's own position stands for its value, so that the caret points at the name to change.
    pub fn locate(&self, path: &str) -> (Mark, bool) {
        let (mut node, mut mark) = (self, self.mark);
        for step in steps(path) {
            let next = match (step, &node.value) {
                (Step::Index(index), Value::List(items)) => items.get(index).map(|item| (item, item.mark)),
                (Step::Index(index), Value::Map(_)) => {
                    node.entry(&index.to_string()).map(|entry| (&entry.node, entry.mark))
                }
                (Step::Key(key), Value::Map(_)) => node.entry(key).map(|entry| (&entry.node, entry.mark)),
                _ => None,
            };
            let Some((found, at)) = next else { return (mark, false) };
            (node, mark) = (found, at);
        }
        (mark, true)
    }
}

impl Value {
    /// What kind of value this is, in words for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }
}

/// Short forms of values for messages: scalars as written, long text cut.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => write!(f, "{:?}", crate::text::shorten(text, 60)),
            other => f.write_str(other.describe()),
        }
    }
}

/// A step of a field path.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The steps of a path: names between dots, indices or keys between brackets.
fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    let mut rest = path;
    std::iter::from_fn(move || {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Some(inner) = rest.strip_prefix('[') {
            let (step, after) = inner.split_once(']').unwrap_or((inner, ""));
            rest = after;
            return Some(step.parse().map_or(Step::Key(step), Step::Index));
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (step, after) = rest.split_at(end);
        rest = after;
        (!step.is_empty()).then_some(Step::Key(step))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let got: Vec<_> = steps("spec.disks[2].name").collect();
        assert_eq!(got, [Step::Key("spec"), Step::Key("disks"), Step::Index(2), Step::Key("name")]);
        let got: Vec<_> = steps("metadata.annotations[a.b/c]").collect();
        assert_eq!(got, [Step::Key("metadata"), Step::Key("annotations"), Step::Key("a.b/c")]);
        assert_eq!(steps("").count(), 0);
        assert_eq!(steps("a[").count(), 2);
    }
}
