//! One operation of a JSON Patch.

use serde::Deserialize;
use serde_json::Value;

use super::PatchError;

/// What is to be done to an object.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum Operation {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}

impl Operation {
    pub(super) fn apply(self, object: &mut Value) -> Result<(), PatchError> {
        let lost = |path: &str| PatchError::NoSuchPath(path.to_owned());
        match self {
            Self::Add { path, value } => add(object, &path, value).ok_or_else(|| lost(&path)),
            Self::Remove { path } => remove(object, &path).map(drop).ok_or_else(|| lost(&path)),
            Self::Replace { path, value } => {
                *object.pointer_mut(&path).ok_or_else(|| lost(&path))? = value;
                Ok(())
            }
            Self::Move { from, path } => {
                let value = remove(object, &from).ok_or_else(|| lost(&from))?;
                add(object, &path, value).ok_or_else(|| lost(&path))
            }
            Self::Copy { from, path } => {
                let value = object.pointer(&from).cloned().ok_or_else(|| lost(&from))?;
                add(object, &path, value).ok_or_else(|| lost(&path))
            }
            Self::Test { path, value } => {
                let same = object.pointer(&path) == Some(&value);
                same.then_some(()).ok_or(PatchError::TestFailed(path))
            }
        }
    }
}

/// The parent of what `path` names, and its name there.
fn parent<'a>(object: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, name) = path.rsplit_once('/')?;
    Some((object.pointer_mut(parent)?, name.replace("~1", "/").replace("~0", "~")))
}

/// The place in a list that a name means.
fn index(name: &str, length: usize) -> Option<usize> {
    let is_plain = name == "0" || !name.starts_with(['0', '+']);
    name.parse().ok().filter(|index| is_plain && *index <= length)
}

fn add(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *object = value;
        return Some(());
    }
    match parent(object, path)? {
        (Value::Object(map), name) => drop(map.insert(name, value)),
        (Value::Array(list), name) => {
            let at = if name == "-" { list.len() } else { index(&name, list.len())? };
            list.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(object: &mut Value, path: &str) -> Option<Value> {
    match parent(object, path)? {
        (Value::Object(map), name) => map.remove(&name),
        (Value::Array(list), name) => {
            let at = index(&name, list.len()).filter(|at| *at < list.len())?;
            Some(list.remove(at))
        }
        _ => None,
    }
}
