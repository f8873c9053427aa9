//! From typed objects to JSON: one way for all of them, so that each type has one writer and not one for each form of output.

use serde_json::{Map, Value as Json};

use super::read::Value;

/// Writes a field of an object, unless it is absent and may be.
#[inline(never)]
pub(super) fn field<T: Value>(map: &mut Map<String, Json>, name: &str, is_required: bool, value: &T) {
    if is_required || !value.is_absent() {
        map.insert(name.to_owned(), value.to_json());
    }
}
