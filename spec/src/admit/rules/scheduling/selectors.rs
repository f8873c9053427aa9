//! Selectors of nodes and labels.

use super::{PREFERRED, REQUIRED, Report, weight_is_in_range};
use crate::api::{LabelSelector, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm};
use crate::formats;

pub(super) fn node_affinity_is_well_formed(affinity: &NodeAffinity, report: &mut Report<'_, '_>) {
    if let Some(selector) = &affinity.required_during_scheduling_ignored_during_execution {
        let path = format!("nodeAffinity.{REQUIRED}.nodeSelectorTerms");
        if selector.node_selector_terms.is_empty() {
            report.invalid(&path, "give at least one term");
        }
        for (index, term) in selector.node_selector_terms.iter().enumerate() {
            term_is_well_formed(term, &format!("{path}[{index}]"), report);
        }
    }
    for (index, term) in affinity.preferred_during_scheduling_ignored_during_execution.iter().enumerate() {
        let path = format!("nodeAffinity.{PREFERRED}[{index}]");
        weight_is_in_range(term.weight, &path, report);
        term_is_well_formed(&term.preference, &format!("{path}.preference"), report);
    }
}

fn term_is_well_formed(term: &NodeSelectorTerm, path: &str, report: &mut Report<'_, '_>) {
    for (index, requirement) in term.match_expressions.iter().enumerate() {
        expression_is_well_formed(requirement, &format!("{path}.matchExpressions[{index}]"), report);
    }
    for (index, requirement) in term.match_fields.iter().enumerate() {
        field_is_well_formed(requirement, &format!("{path}.matchFields[{index}]"), report);
    }
}

/// What the number of values says about an operator; nothing when they fit.
fn values_fault(operator: &str, count: usize) -> Option<&'static str> {
    match (operator, count) {
        ("In" | "NotIn", 0) => Some("In and NotIn need values"),
        ("Exists" | "DoesNotExist", 1..) => Some("Exists and DoesNotExist take no values"),
        ("Gt" | "Lt", 0 | 2..) => Some("Gt and Lt need exactly one value"),
        _ => None,
    }
}

fn expression_is_well_formed(requirement: &NodeSelectorRequirement, path: &str, report: &mut Report<'_, '_>) {
    let operator = requirement.operator.as_str();
    if !matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt") {
        report.invalid(format!("{path}.operator"), format!("{operator:?} is not an operator"));
    }
    if let Some(fault) = values_fault(operator, requirement.values.len()) {
        report.invalid(format!("{path}.values"), fault);
    }
    if let Some(fault) = formats::label_name(&requirement.key) {
        report.invalid(format!("{path}.key"), fault);
    }
}

/// Of a node's fields only its name can be asked for.
fn field_is_well_formed(requirement: &NodeSelectorRequirement, path: &str, report: &mut Report<'_, '_>) {
    let operator = requirement.operator.as_str();
    if !matches!(operator, "In" | "NotIn") {
        report.invalid(format!("{path}.operator"), format!("{operator:?} is not In or NotIn"));
    } else if requirement.values.len() != 1 {
        report.invalid(format!("{path}.values"), "give exactly one value");
    }
    if requirement.key != "metadata.name" {
        report.invalid(format!("{path}.key"), "must be metadata.name");
        return;
    }
    for (index, value) in requirement.values.iter().enumerate() {
        if let Some(fault) = formats::subdomain(value) {
            report.invalid(format!("{path}.values[{index}]"), fault);
        }
    }
}

pub(super) fn labels_are_well_formed(selector: &LabelSelector, path: &str, report: &mut Report<'_, '_>) {
    for (key, value) in &selector.match_labels {
        for fault in [formats::label_name(key), formats::label_value(value)].into_iter().flatten() {
            report.invalid(format!("{path}.matchLabels"), fault);
        }
    }
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let operator = requirement.operator.as_str();
        if !matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist") {
            report.invalid(format!("{path}.operator"), format!("{operator:?} is not an operator"));
        }
        if let Some(fault) = values_fault(operator, requirement.values.len()) {
            report.invalid(format!("{path}.values"), fault);
        }
        if let Some(fault) = formats::label_name(&requirement.key) {
            report.invalid(format!("{path}.key"), fault);
        }
        for (number, value) in requirement.values.iter().enumerate() {
            if let Some(fault) = formats::label_value(value) {
                report.invalid(format!("{path}.values[{number}]"), fault);
            }
        }
    }
}
