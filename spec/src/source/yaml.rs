//! YAML (and so JSON) to positioned trees, one a document, in bounded time and memory.
//!
//! The events come from granit-parser, the parser beneath serde-saphyr. It is used directly because admission
//! wants every fault of a document at once, each at its place, and a typed deserializer ends at the first;
//! and because the tree is needed anyway to say where a value stands once defaults have been applied.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle};

use super::node::{Entry, Mark, Node, Value};
use super::{complaint, scalar};

/// The deepest nesting of lists and mappings; the deepest KubeVirt object has 18 levels.
pub(crate) const MAX_DEPTH: usize = 64;
/// The most values a file may hold after its aliases are expanded; a large VM has a few hundred. Together with
/// the file size limit this bounds the memory to about 100 MiB whatever the input.
pub(crate) const MAX_NODES: usize = 1_000_000;

/// What is wrong with a YAML text, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub(crate) mark: Mark,
    pub(crate) message: String,
}

/// All documents of a text, and the fault that ended the reading, if any. Empty documents are left out.
pub(crate) fn read(text: &str) -> (Vec<Node>, Option<Fault>) {
    let mut builder = Builder::default();
    let mut options = Options::default();
    options.emit_comments = false;
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let parser = Parser::new_from_str_with_options(text, options);
    for event in parser {
        let fault = match event {
            Ok((event, span)) => builder.take(event, mark(&span.start)).err(),
            Err(error) => Some(complaint::fault(text, &error)),
        };
        if fault.is_some() {
            return (builder.documents, fault);
        }
    }
    (builder.documents, None)
}

pub(super) fn mark(marker: &Marker) -> Mark {
    let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Mark { line: count(marker.line()).max(1), column: count(marker.col()).saturating_add(1) }
}

/// A list or mapping whose end has not come yet.
struct Open {
    mark: Mark,
    anchor: usize,
    holds: Holds,
}

enum Holds {
    Items(Vec<Node>),
    Entries(Box<Mapping>),
}

/// A mapping while it is read.
#[derive(Default)]
struct Mapping {
    entries: Vec<Entry>,
    /// A hash of keys, made once there are so many that comparing one by one would take quadratic time.
    index: HashMap<Box<str>, usize>,
    key: Option<(Box<str>, Mark)>,
    merges: Vec<Node>,
}

impl Mapping {
    /// Mappings beyond this size are searched by hash.
    const SMALL: usize = 32;

    fn find(&self, key: &str) -> Option<&Entry> {
        if self.entries.len() <= Self::SMALL {
            return self.entries.iter().find(|entry| *entry.key == *key);
        }
        self.index.get(key).and_then(|at| self.entries.get(*at))
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() >= Self::SMALL {
            if self.index.is_empty() {
                let all = self.entries.iter().enumerate();
                self.index = all.map(|(at, entry)| (entry.key.clone(), at)).collect();
            }
            self.index.insert(entry.key.clone(), self.entries.len());
        }
        self.entries.push(entry);
    }

    /// Takes a finished value: first a key, then what belongs to it.
    fn take(&mut self, node: Node) -> Result<(), Fault> {
        let Some((key, mark)) = self.key.take() else {
            self.key = Some((key_text(&node)?, node.mark));
            return Ok(());
        };
        if *key == *"<<" {
            self.merges.push(node);
            return Ok(());
        }
        if let Some(first) = self.find(&key) {
            let message = format!(
                "the key {:?} is given twice in this mapping (first in line {}); remove one",
                crate::text::shorten(&key, 60),
                first.mark.line
            );
            return Err(Fault { mark, message });
        }
        self.push(Entry { key, mark, node });
        Ok(())
    }

    /// The finished mapping, with the entries of `<<` values that it does not have itself.
    fn finish(mut self) -> Result<Value, Fault> {
        for node in std::mem::take(&mut self.merges) {
            let mark = node.mark;
            let sources = match node.value {
                Value::List(items) => items,
                _ => vec![node],
            };
            for source in sources {
                let Value::Map(inherited) = source.value else {
                    let message = "`<<` must name one mapping or a list of mappings".to_owned();
                    return Err(Fault { mark, message });
                };
                for entry in inherited {
                    if self.find(&entry.key).is_none() {
                        self.push(entry);
                    }
                }
            }
        }
        Ok(Value::Map(self.entries))
    }
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let suffix = tag.as_ref().map(|tag| tag.core_suffix().unwrap_or("custom"));
                // A key is its text, whatever it would mean as a value.
                let is_plain = style == ScalarStyle::Plain && !self.awaits_key();
                let value =
                    scalar::value(&text, is_plain, suffix).map_err(|message| Fault { mark, message })?;
                self.place(Node { mark, value }, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => self.enter(mark, anchor, Holds::Items(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => self.enter(mark, anchor, Holds::Entries(Box::default()))?,
            Event::SequenceEnd | Event::MappingEnd => self.leave()?,
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    let message = "this alias stands inside the value it refers to".to_owned();
                    return Err(Fault { mark, message });
                };
                let budget = MAX_NODES.saturating_sub(self.nodes);
                if size(node, budget) >= budget {
                    return Err(too_many(mark));
                }
                let copy = node.clone();
                self.nodes = self.nodes.saturating_add(size(&copy, budget));
                self.place(copy, 0)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        let holds = self.open.last().map(|open| &open.holds);
        matches!(holds, Some(Holds::Entries(mapping)) if mapping.key.is_none())
    }

    fn enter(&mut self, mark: Mark, anchor: usize, holds: Holds) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault { mark, message: format!("more than {MAX_DEPTH} levels of nesting") });
        }
        self.open.push(Open { mark, anchor, holds });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.holds {
            Holds::Items(items) => Value::List(items),
            Holds::Entries(mapping) => mapping.finish()?,
        };
        self.place(Node { mark: open.mark, value }, open.anchor)
    }

    /// Puts a finished value where it belongs: into the innermost open collection, or out as a document.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(1);
        if anchor != 0 {
            let budget = MAX_NODES.saturating_sub(self.nodes);
            self.nodes = self.nodes.saturating_add(size(&node, budget));
            self.anchors.insert(anchor, node.clone());
        }
        if self.nodes > MAX_NODES {
            return Err(too_many(node.mark));
        }
        match self.open.last_mut().map(|open| &mut open.holds) {
            None if node.is_null() => {}
            None => self.documents.push(node),
            Some(Holds::Items(items)) => items.push(node),
            Some(Holds::Entries(mapping)) => mapping.take(node)?,
        }
        Ok(())
    }
}

fn too_many(mark: Mark) -> Fault {
    Fault { mark, message: format!("the file holds more than {MAX_NODES} values (aliases expanded)") }
}

/// The number of values in a tree, counted no further than `limit`.
fn size(node: &Node, limit: usize) -> usize {
    let mut count: usize = 1;
    let children = node.items().iter().chain(node.entries().iter().map(|entry| &entry.node));
    for child in children {
        if count >= limit {
            break;
        }
        count = count.saturating_add(size(child, limit.saturating_sub(count)));
    }
    count
}

/// The text of a mapping's key.
fn key_text(node: &Node) -> Result<Box<str>, Fault> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        other => {
            Err(Fault { mark: node.mark, message: format!("a key must be text, not {}", other.describe()) })
        }
    }
}
