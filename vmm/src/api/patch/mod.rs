//! Changes of an object as clients write them down: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386).

mod operation;

use serde_json::Value;

use self::operation::Operation;

/// Most operations of one patch.
const MOST_OPERATIONS: usize = 256;

/// Most copies among them: each can double the object.
const MOST_COPIES: usize = 8;

/// Ways to write a change down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// A list of operations.
    Json,
    /// The parts that are to be other ones; null takes away.
    Merge,
}

/// Why a patch cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// It is no patch.
    #[error("the patch cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It is too long.
    #[error("the patch has more than {MOST_OPERATIONS} operations")]
    TooLong,
    /// It could make an object without bounds.
    #[error("the patch copies more than {MOST_COPIES} times")]
    TooManyCopies,
    /// A path leads nowhere.
    #[error("the patch's path {0:?} leads nowhere")]
    NoSuchPath(String),
    /// A test failed.
    #[error("the patch's test of {0:?} failed: the object has changed")]
    TestFailed(String),
}

impl PatchKind {
    /// By the media type of a request's body.
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            _ => None,
        }
    }

    /// `object` as it is after the change that `patch` describes.
    ///
    /// # Errors
    /// There is no such change, or it does not fit the object.
    pub fn apply(self, mut object: Value, patch: &[u8]) -> Result<Value, PatchError> {
        match self {
            Self::Merge => merge(&mut object, serde_json::from_slice(patch)?),
            Self::Json => {
                let operations: Vec<Operation> = serde_json::from_slice(patch)?;
                if operations.len() > MOST_OPERATIONS {
                    return Err(PatchError::TooLong);
                }
                let copies =
                    operations.iter().filter(|operation| matches!(operation, Operation::Copy { .. }));
                if copies.count() > MOST_COPIES {
                    return Err(PatchError::TooManyCopies);
                }
                for operation in operations {
                    operation.apply(&mut object)?;
                }
            }
        }
        Ok(object)
    }
}

/// Puts `patch` over `target`. The depth of both is bounded by what serde_json reads.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply(kind: PatchKind, object: Value, patch: Value) -> Result<Value, PatchError> {
        kind.apply(object, patch.to_string().as_bytes())
    }

    #[test]
    fn merge_patches_do_what_the_rfc_shows() {
        // RFC 7386, appendix A.
        for (object, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(apply(PatchKind::Merge, object, patch.clone()).unwrap(), result, "{patch}");
        }
    }

    #[test]
    fn json_patches_do_what_the_rfc_shows() {
        // RFC 6902, appendix A.
        for (object, patch, result) in [
            (
                json!({"foo": ["bar", "baz"]}),
                json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
                json!({"foo": ["bar", "qux", "baz"]}),
            ),
            (
                json!({"foo": ["bar"]}),
                json!([{"op": "add", "path": "/foo/-", "value": 1}]),
                json!({"foo": ["bar", 1]}),
            ),
            (
                json!({"a": {"b": 1}, "q": 2}),
                json!([{"op": "remove", "path": "/a/b"}]),
                json!({"a": {}, "q": 2}),
            ),
            (json!({"a": 1}), json!([{"op": "replace", "path": "/a", "value": 2}]), json!({"a": 2})),
            (
                json!({"a": {"x": 1}, "b": {}}),
                json!([{"op": "move", "from": "/a/x", "path": "/b/y"}]),
                json!({"a": {}, "b": {"y": 1}}),
            ),
            (json!({"a": 1}), json!([{"op": "copy", "from": "/a", "path": "/b"}]), json!({"a": 1, "b": 1})),
            (
                json!({"/": 9, "~1": 10}),
                json!([{"op": "test", "path": "/~01", "value": 10}]),
                json!({"/": 9, "~1": 10}),
            ),
            (json!({"a": 1}), json!([{"op": "replace", "path": "", "value": [1]}]), json!([1])),
        ] {
            assert_eq!(apply(PatchKind::Json, object, patch.clone()).unwrap(), result, "{patch}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let object = json!({"a": [1, 2], "b": {"c": 1}});
        for patch in [
            json!([{"op": "remove", "path": "/x"}]),
            json!([{"op": "replace", "path": "/a/2", "value": 0}]),
            json!([{"op": "add", "path": "/a/3", "value": 0}]),
            json!([{"op": "add", "path": "/a/01", "value": 0}]),
            json!([{"op": "add", "path": "/x/y", "value": 0}]),
            json!([{"op": "add", "path": "a", "value": 0}]),
            json!([{"op": "test", "path": "/b/c", "value": 2}]),
            json!([{"op": "move", "from": "/b", "path": "/b/c/d"}]),
            json!([{"op": "remove", "path": ""}]),
            json!([{"op": "steal", "path": "/a"}]),
            json!({"op": "remove", "path": "/a"}),
            json!(vec![json!({"op": "copy", "from": "", "path": "/b"}); 9]),
            json!(vec![json!({"op": "test", "path": "/b/c", "value": 1}); 257]),
        ] {
            assert!(apply(PatchKind::Json, object.clone(), patch.clone()).is_err(), "{patch}");
        }
    }

    #[test]
    fn media_types_say_which_it_is() {
        assert_eq!(PatchKind::of("application/merge-patch+json; charset=utf-8"), Some(PatchKind::Merge));
        assert_eq!(PatchKind::of("application/json-patch+json"), Some(PatchKind::Json));
        assert_eq!(PatchKind::of("application/strategic-merge-patch+json"), None);
    }
}
