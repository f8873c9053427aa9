//! Spreading over the parts of a cluster.

use super::{Report, selectors, topology_key_is_a_label};
use crate::api::TopologySpreadConstraint;
use crate::formats;

pub(super) fn check(constraints: &[TopologySpreadConstraint], report: &mut Report<'_, '_>) {
    for (index, constraint) in constraints.iter().enumerate() {
        let path = format!("topologySpreadConstraints[{index}]");
        amounts_make_sense(constraint, &path, report);
        topology_key_is_a_label(&constraint.topology_key, &path, report);
        words_are_known(constraint, &path, report);
        let later = constraints.get(index.saturating_add(1)..).unwrap_or_default();
        constraint_is_given_once(constraint, later, &path, report);
        keys_go_with_a_selector(constraint, &path, report);
        if let Some(selector) = &constraint.label_selector {
            selectors::labels_are_well_formed(selector, &format!("{path}.labelSelector"), report);
        }
    }
}

fn amounts_make_sense(constraint: &TopologySpreadConstraint, path: &str, report: &mut Report<'_, '_>) {
    if constraint.max_skew <= 0 {
        report.invalid(format!("{path}.maxSkew"), format!("{} is not above zero", constraint.max_skew));
    }
    let Some(domains) = constraint.min_domains else { return };
    if domains <= 0 {
        report.invalid(format!("{path}.minDomains"), format!("{domains} is not above zero"));
    } else if constraint.when_unsatisfiable != "DoNotSchedule" {
        report.invalid(format!("{path}.minDomains"), "works with whenUnsatisfiable: DoNotSchedule only");
    }
}

fn words_are_known(constraint: &TopologySpreadConstraint, path: &str, report: &mut Report<'_, '_>) {
    if !matches!(constraint.when_unsatisfiable.as_str(), "DoNotSchedule" | "ScheduleAnyway") {
        report.invalid(format!("{path}.whenUnsatisfiable"), "must be DoNotSchedule or ScheduleAnyway");
    }
    let policies = [
        (&constraint.node_affinity_policy, "nodeAffinityPolicy"),
        (&constraint.node_taints_policy, "nodeTaintsPolicy"),
    ];
    for (policy, key) in policies {
        if !matches!(policy.as_deref(), None | Some("Honor" | "Ignore")) {
            report.invalid(format!("{path}.{key}"), "must be Honor or Ignore");
        }
    }
}

/// Key and consequence together name a constraint.
fn constraint_is_given_once(
    constraint: &TopologySpreadConstraint,
    later: &[TopologySpreadConstraint],
    path: &str,
    report: &mut Report<'_, '_>,
) {
    let is_same = |other: &TopologySpreadConstraint| {
        other.topology_key == constraint.topology_key
            && other.when_unsatisfiable == constraint.when_unsatisfiable
    };
    if later.iter().any(is_same) {
        let message = "another constraint has the same topologyKey and whenUnsatisfiable: remove one";
        report.named(format!("{path}.{{topologyKey, whenUnsatisfiable}}"), path, message);
    }
}

fn keys_go_with_a_selector(constraint: &TopologySpreadConstraint, path: &str, report: &mut Report<'_, '_>) {
    let Some(selector) = &constraint.label_selector else {
        if !constraint.match_label_keys.is_empty() {
            report.invalid(format!("{path}.matchLabelKeys"), "is of no use without labelSelector");
        }
        return;
    };
    for (index, key) in constraint.match_label_keys.iter().enumerate() {
        let path = format!("{path}.matchLabelKeys[{index}]");
        let is_selected = selector.match_labels.contains_key(key)
            || selector.match_expressions.iter().any(|requirement| requirement.key == *key);
        if let Some(fault) = formats::label_name(key) {
            report.invalid(path, fault);
        } else if is_selected {
            report.invalid(path, "the key stands in labelSelector too: keep one");
        }
    }
}
