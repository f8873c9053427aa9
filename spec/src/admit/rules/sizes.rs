//! Memory, CPU, requests and limits.

use super::super::{Findings, Reason};
use crate::api::{Quantity, VirtualMachineInstanceSpec};

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    memory_is_given(spec, findings);
    memory_request_is_positive(spec, findings);
    memory_limit_covers_request(spec, findings);
}

/// A machine needs memory.
fn memory_is_given(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let guest = spec.domain.memory.as_ref().and_then(|memory| memory.guest.as_ref());
    if guest.is_none_or(Quantity::is_zero) {
        let message = "the machine has no memory: give domain.memory.guest, e.g. 1Gi";
        findings.put_as(Reason::Required, "", "spec.domain.memory.guest", message);
    }
}

/// A memory request is at least 1M.
fn memory_request_is_positive(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let Some(request) = spec.domain.resources.requests.get("memory") else { return };
    if request.is_negative() || !request.is_zero() && *request < Quantity::of(1_000_000) {
        let message = format!("{request} is too little: a memory request is at least 1M");
        findings.invalid("spec.domain.resources.requests.memory", message);
    }
}

/// A memory limit is not negative, and not below the request.
fn memory_limit_covers_request(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let resources = &spec.domain.resources;
    let Some(limit) = resources.limits.get("memory") else { return };
    if limit.is_negative() {
        findings.invalid("spec.domain.resources.limits.memory", format!("{limit} is below zero"));
    }
    if let Some(request) =
        resources.requests.get("memory").filter(|request| !limit.is_zero() && *request > limit)
    {
        let message = format!("the request {request} is more than the limit {limit}");
        findings.invalid("spec.domain.resources.requests.memory", message);
    }
}
