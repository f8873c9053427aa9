//! Memory and vCPUs out of requests and limits.

use crate::api::{CpuFeaturePolicy, DomainSpec, Quantity};

/// A CPU limit without a request is the request too.
pub(super) fn cpu_request(domain: &mut DomainSpec) {
    let resources = &mut domain.resources;
    if let (None, Some(limit)) = (resources.requests.get("cpu"), resources.limits.get("cpu")) {
        resources.requests.insert("cpu".into(), limit.clone());
    }
}

/// The guest's memory: as given, else the request, else the limit, else one huge page.
pub(super) fn guest_memory(domain: &mut DomainSpec) {
    if domain.memory.as_ref().is_some_and(|memory| memory.guest.is_some()) {
        return;
    }
    let resources = &domain.resources;
    let asked = resources.requests.get("memory").or_else(|| resources.limits.get("memory")).cloned();
    let page = domain.memory.as_ref().and_then(|memory| memory.hugepages.as_ref());
    let guest = asked.or_else(|| page.and_then(|page| page.page_size.parse::<Quantity>().ok()));
    if let Some(guest) = guest {
        domain.memory.get_or_insert_default().guest = Some(guest);
    }
}

/// Without a topology there are as many sockets as CPUs in the limit or the request, rounded up.
pub(super) fn topology(domain: &mut DomainSpec) {
    let cpu = domain.cpu.get_or_insert_default();
    if cpu.cores != 0 || cpu.sockets != 0 || cpu.threads != 0 {
        return;
    }
    let resources = &domain.resources;
    let asked = resources.limits.get("cpu").or_else(|| resources.requests.get("cpu"));
    let count = asked.and_then(Quantity::bytes).and_then(|count| u32::try_from(count).ok());
    cpu.sockets = count.filter(|count| *count > 0).unwrap_or(1);
    (cpu.cores, cpu.threads) = (1, 1);
}

/// Without a model the guest sees the host's CPU; features without a policy are required.
pub(super) fn cpu_model(domain: &mut DomainSpec, architecture: &str) {
    let cpu = domain.cpu.get_or_insert_default();
    let usual = if architecture == "arm64" { "host-passthrough" } else { "host-model" };
    cpu.model.get_or_insert_with(|| usual.into());
    for feature in &mut cpu.features {
        feature.policy.get_or_insert(CpuFeaturePolicy::Require);
    }
}
