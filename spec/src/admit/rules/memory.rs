//! Memory: requests, limits, huge pages.

use super::super::{Findings, Reason};
use crate::api::{Quantity, VirtualMachineInstanceSpec};

const REQUEST: &str = "spec.domain.resources.requests.memory";
const LIMIT: &str = "spec.domain.resources.limits.memory";

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    memory_is_given(spec, findings);
    memory_request_is_positive(spec, findings);
    memory_limit_is_positive(spec, findings);
    memory_request_is_within_limit(spec, findings);
    guest_memory_is_positive(spec, findings);
    guest_memory_is_within_maximum(spec, findings);
    memory_is_made_of_huge_pages(spec, findings);
    reserved_memory_is_positive(spec, findings);
}

fn reserved_memory_is_positive(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let reserved = spec.domain.memory.as_ref().and_then(|memory| memory.reserved_overhead.as_ref());
    let added = reserved.and_then(|reserved| reserved.added_overhead.as_ref());
    if let Some(added) = added.filter(|added| added.is_negative()) {
        let path = "spec.domain.memory.reservedOverhead.addedOverhead";
        findings.cannot(path, format!("{added} is below zero"));
    }
}

fn guest(spec: &VirtualMachineInstanceSpec) -> Option<&Quantity> {
    spec.domain.memory.as_ref().and_then(|memory| memory.guest.as_ref())
}

/// A machine needs memory.
fn memory_is_given(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if guest(spec).is_none_or(Quantity::is_zero) {
        let message = "the machine has no memory: give domain.memory.guest, e.g. 1Gi";
        findings.put_as(Reason::Required, "", "spec.domain.memory.guest", message);
    }
}

fn memory_request_is_positive(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let Some(request) = spec.domain.resources.requests.get("memory") else { return };
    if request.is_negative() || !request.is_zero() && *request < Quantity::of(1_000_000) {
        findings.invalid(REQUEST, format!("{request} is too little: a memory request is at least 1M"));
    }
}

fn memory_limit_is_positive(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if let Some(limit) = spec.domain.resources.limits.get("memory").filter(|limit| limit.is_negative()) {
        findings.invalid(LIMIT, format!("{limit} is below zero"));
    }
}

fn memory_request_is_within_limit(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let resources = &spec.domain.resources;
    let (Some(request), Some(limit)) = (resources.requests.get("memory"), resources.limits.get("memory"))
    else {
        return;
    };
    if *limit > Quantity::default() && request > limit {
        findings.invalid(
            REQUEST,
            format!(
                "the request {request} is more than the limit {limit}: raise the limit or lower the request"
            ),
        );
    }
}

/// Memory given for the guest itself is not negative, and at least 1M.
fn guest_memory_is_positive(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let Some(guest) = guest(spec).filter(|guest| !guest.is_zero()) else { return };
    let is_requested = spec.domain.resources.requests.get("memory") == Some(guest);
    if *guest < Quantity::of(1_000_000) && !is_requested {
        findings.cannot(
            "spec.domain.memory.guest",
            format!("{guest} is too little for a machine: give at least 1M"),
        );
    }
}

fn guest_memory_is_within_maximum(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let most = spec.domain.memory.as_ref().and_then(|memory| memory.max_guest.as_ref());
    if let (Some(guest), Some(most)) = (guest(spec), most)
        && guest > most
    {
        findings.cannot("spec.domain.memory.guest", format!("{guest} is more than maxGuest {most}"));
    }
}

/// Memory on huge pages is a whole number of them.
fn memory_is_made_of_huge_pages(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let Some(pages) = spec.domain.memory.as_ref().and_then(|memory| memory.hugepages.as_ref()) else {
        return;
    };
    let size = match pages.page_size.parse::<Quantity>() {
        Ok(size) if size > Quantity::default() => size,
        Ok(_) => return findings.invalid("spec.domain.memory.hugepages.pageSize", "must be 2Mi or 1Gi"),
        Err(error) => {
            let message = format!("{:?} is not a page size: it {error}", pages.page_size);
            return findings.invalid("spec.domain.memory.hugepages.pageSize", message);
        }
    };
    let request = spec.domain.resources.requests.get("memory");
    let Some(memory) = guest(spec).or(request) else { return };
    let path = if request.is_some() { REQUEST } else { "spec.domain.memory.guest" };
    if *memory < size {
        let message = format!("{memory} is less than one huge page of {size}");
        findings.put_as(Reason::Invalid, REQUEST, path, message);
    } else if memory.nano().checked_rem(size.nano()) != Some(0) {
        let message = format!("{memory} is not a whole number of huge pages of {size}");
        findings.put_as(Reason::Invalid, REQUEST, path, message);
    }
}
