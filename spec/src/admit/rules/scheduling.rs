//! Affinity and spreading: nothing of it concerns the machine, but a cluster refuses what is malformed.
//!
//! A cluster's answers leave out `affinity` in the paths of its parts.

mod selectors;
mod spread;

use super::super::{Findings, Reason};
use crate::api::{PodAffinityTerm, VirtualMachineInstanceSpec, WeightedPodAffinityTerm};
use crate::formats;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if let Some(affinity) = &spec.affinity {
        let mut report = Report { inside: "affinity.", findings };
        if let Some(node) = &affinity.node_affinity {
            selectors::node_affinity_is_well_formed(node, &mut report);
        }
        if let Some(pod) = &affinity.pod_affinity {
            terms_are_well_formed(
                &pod.required_during_scheduling_ignored_during_execution,
                &pod.preferred_during_scheduling_ignored_during_execution,
                "podAffinity",
                &mut report,
            );
        }
        if let Some(pod) = &affinity.pod_anti_affinity {
            terms_are_well_formed(
                &pod.required_during_scheduling_ignored_during_execution,
                &pod.preferred_during_scheduling_ignored_during_execution,
                "podAntiAffinity",
                &mut report,
            );
        }
    }
    let mut report = Report { inside: "", findings };
    spread::check(&spec.topology_spread_constraints, &mut report);
}

/// Reports faults by the path within `spec`, with what a cluster leaves out of it.
struct Report<'a, 'b> {
    inside: &'static str,
    findings: &'a mut Findings<'b>,
}

impl Report<'_, '_> {
    fn invalid(&mut self, path: impl AsRef<str>, message: impl Into<String>) {
        let path = path.as_ref();
        let place = format!("spec.{}{path}", self.inside);
        self.findings.put_as(Reason::Invalid, format!("spec.{path}"), place, message);
    }

    /// The same for what a cluster names by something that is no field.
    fn named(&mut self, field: impl AsRef<str>, path: &str, message: impl Into<String>) {
        let place = format!("spec.{}{path}", self.inside);
        self.findings.put_as(Reason::Duplicate, format!("spec.{}", field.as_ref()), place, message);
    }
}

fn terms_are_well_formed(
    required: &[PodAffinityTerm],
    preferred: &[WeightedPodAffinityTerm],
    path: &str,
    report: &mut Report<'_, '_>,
) {
    for (index, term) in required.iter().enumerate() {
        term_is_well_formed(term, &format!("{path}.{REQUIRED}[{index}]"), report);
    }
    for (index, term) in preferred.iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{index}]");
        weight_is_in_range(term.weight, &path, report);
        term_is_well_formed(&term.pod_affinity_term, &format!("{path}.podAffinityTerm"), report);
    }
}

fn weight_is_in_range(weight: i32, path: &str, report: &mut Report<'_, '_>) {
    if !(1..=100).contains(&weight) {
        report.invalid(format!("{path}.weight"), format!("{weight} is not a weight: those are 1 to 100"));
    }
}

fn term_is_well_formed(term: &PodAffinityTerm, path: &str, report: &mut Report<'_, '_>) {
    for (selector, key) in
        [(&term.label_selector, "labelSelector"), (&term.namespace_selector, "namespaceSelector")]
    {
        if let Some(selector) = selector {
            selectors::labels_are_well_formed(selector, &format!("{path}.{key}"), report);
        }
    }
    for namespace in &term.namespaces {
        if let Some(fault) = formats::label(namespace) {
            report.invalid(format!("{path}.namespace"), fault);
        }
    }
    topology_key_is_a_label(&term.topology_key, path, report);
}

fn topology_key_is_a_label(key: &str, path: &str, report: &mut Report<'_, '_>) {
    if let Some(fault) = formats::label_name(key) {
        let message = if key.is_empty() { "must not be empty" } else { fault };
        report.invalid(format!("{path}.topologyKey"), message);
    }
}
