//! All fields of a kind with their paths and what kubevmm does with them.

use crate::api::kind::{Field, Kind, ObjectType, Support, When};

/// What kubevmm does with a field, seen from the whole document: parts of something refused are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The field has the effect that KubeVirt gives it.
    Honoured,
    /// The field speaks to the cluster; accepted, no effect here.
    Cluster,
    /// Accepted with a warning, for the values named.
    Warning(String),
    /// Refused, for the values named.
    NotSupported(String),
    /// As the field above it, whose path is given.
    As(String),
}

impl Status {
    /// The status in a word or two.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Cluster => "accepted: concerns the cluster only",
            Self::Warning(_) => "accepted with a warning",
            Self::NotSupported(_) => "not supported",
            Self::As(_) => "as the field above",
        }
    }
}

/// A field of a kind.
#[derive(Debug)]
pub struct Entry {
    /// The path from the top of the object, without indices.
    pub path: String,
    /// The field.
    pub field: &'static Field,
    /// What kubevmm does with it.
    pub status: Status,
}

/// All fields of a type, in the order of its declaration, each before its parts.
pub fn list(kind: &Kind) -> Vec<Entry> {
    let mut entries = Vec::new();
    if let Some(object) = kind.object() {
        walk(object, "", None, &mut entries);
    }
    entries
}

fn walk(object: &'static ObjectType, base: &str, above: Option<&str>, entries: &mut Vec<Entry>) {
    for field in object.fields() {
        let path = if base.is_empty() { field.name.to_owned() } else { format!("{base}.{}", field.name) };
        let status = match above {
            Some(above) => Status::As(above.to_owned()),
            None => status(field.support),
        };
        // What holds for every value of a field holds for its parts.
        let whole = match field.support {
            Support::Warning(When::Given | When::On, _) if field.kind.has_refusals() => None,
            Support::Cluster
            | Support::Warning(When::Given | When::On, _)
            | Support::NotSupported(When::Given | When::On, _) => Some(path.as_str()),
            _ => None,
        };
        let below = above.or(whole).map(str::to_owned);
        entries.push(Entry { path: path.clone(), field, status });
        if let Some(child) = field.kind.object() {
            walk(child, &path, below.as_deref(), entries);
        }
    }
}

fn status(support: Support) -> Status {
    match support {
        Support::Honoured => Status::Honoured,
        Support::Cluster => Status::Cluster,
        Support::Warning(when, reason) => Status::Warning(format!("{}{reason}", values(when))),
        Support::NotSupported(when, reason) => Status::NotSupported(format!("{}{reason}", values(when))),
    }
}

/// Which values a status speaks of, in words before its reason.
fn values(when: When) -> String {
    match when {
        When::Given | When::On => String::new(),
        When::True => "when true: ".into(),
        When::False => "when false: ".into(),
        When::Off => "when switched off: ".into(),
        When::OneOf(words) => format!("when {}: ", words.join(" or ")),
        When::NoneOf(words) => format!("unless {}: ", words.join(" or ")),
    }
}
