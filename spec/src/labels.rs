//! Label selectors.

use std::collections::BTreeMap;

use crate::api::LabelSelector;

/// Whether a selector chooses an object with these labels; an unknown operator chooses nothing.
pub(crate) fn match_selector(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let has_labels = selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
    let meets_conditions = selector.match_expressions.iter().all(|condition| {
        let value = labels.get(&condition.key);
        let is_listed = value.is_some_and(|value| condition.values.contains(value));
        match condition.operator.as_str() {
            "In" => is_listed,
            "NotIn" => !is_listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    has_labels && meets_conditions
}
