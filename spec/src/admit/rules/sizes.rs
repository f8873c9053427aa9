//! Instancetypes and preferences.

use super::super::Findings;
use crate::api::{InstancetypeSpec, PreferenceSpec, Quantity};

/// Ways to arrange vCPUs, in their present and their old form.
const TOPOLOGIES: &[&str] = &[
    "cores",
    "sockets",
    "threads",
    "spread",
    "any",
    "preferCores",
    "preferSockets",
    "preferThreads",
    "preferSpread",
    "preferAny",
];
const SPREADS: &[&str] = &["SocketsCores", "SocketsCoresThreads", "CoresThreads"];

/// Checks an instancetype.
pub(in super::super) fn instancetype(spec: &InstancetypeSpec, findings: &mut Findings<'_>) {
    let memory = &spec.memory;
    let percent = "spec.memory.overcommitPercent";
    if memory.overcommit_percent > 100 {
        findings.invalid(
            percent,
            format!("{} is not a percentage: those are 0 to 100", memory.overcommit_percent),
        );
    }
    if memory.overcommit_percent > 0 && memory.hugepages.is_some() {
        findings.invalid(percent, "huge pages cannot be overcommitted: remove one of the two");
    }
    if spec.cpu.guest == 0 {
        findings.cannot("spec.cpu.guest", "a machine needs at least one vCPU");
    }
    if memory.guest <= Quantity::default() {
        findings.cannot("spec.memory.guest", "a machine needs memory: give e.g. 1Gi");
    }
    if spec.cpu.max_sockets.is_some_and(|most| most < spec.cpu.guest) {
        findings.cannot("spec.cpu.maxSockets", "is less than the number of vCPUs");
    }
}

/// Checks a preference.
pub(in super::super) fn preference(spec: &PreferenceSpec, findings: &mut Findings<'_>) {
    let Some(cpu) = &spec.cpu else { return };
    if let Some(wanted) = cpu.preferred_cpu_topology.as_deref().filter(|wanted| !TOPOLOGIES.contains(wanted))
    {
        let message = format!("{wanted:?} is not a topology: use cores, sockets, threads, spread or any");
        findings.invalid("spec.cpu.preferredCPUTopology", message);
    }
    let Some(options) = &cpu.spread_options else { return };
    let across = options.across.as_deref().unwrap_or("SocketsCores");
    if !SPREADS.contains(&across) {
        let message = format!("{across:?} is not a way to spread: use one of {}", SPREADS.join(", "));
        findings.invalid("spec.cpu.spreadOptions.across", message);
    }
    if across == "CoresThreads" && options.ratio.is_some_and(|ratio| ratio != 2) {
        findings.invalid("spec.cpu.spreadOptions.ratio", "a core has two threads: the ratio must be 2");
    }
}
