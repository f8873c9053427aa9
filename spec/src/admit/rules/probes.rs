//! Probes of the guest's health.

use super::super::Findings;
use crate::api::{NetworkSource, Probe, VirtualMachineInstanceSpec};

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let probes =
        [(&spec.readiness_probe, "spec.readinessProbe"), (&spec.liveness_probe, "spec.livenessProbe")];
    let has_pod = spec.networks.iter().any(|network| matches!(network.source, NetworkSource::Pod(_)));
    for (probe, path) in probes {
        let Some(probe) = probe else { continue };
        probe_has_one_handler(probe, path, findings);
        if !has_pod {
            network_probe_needs_pod_network(probe, path, findings);
        }
    }
}

fn probe_has_one_handler(probe: &Probe, path: &str, findings: &mut Findings<'_>) {
    let handlers = [
        probe.http_get.is_some(),
        probe.tcp_socket.is_some(),
        probe.exec.is_some(),
        probe.guest_agent_ping.is_some(),
    ];
    match handlers.iter().filter(|given| **given).count() {
        0 => findings.required(path, "give one of httpGet, tcpSocket, exec and guestAgentPing"),
        1 => {}
        _ => {
            findings.invalid(path, "httpGet, tcpSocket, exec and guestAgentPing exclude each other: keep one")
        }
    }
}

fn network_probe_needs_pod_network(probe: &Probe, path: &str, findings: &mut Findings<'_>) {
    for (given, key) in [(probe.http_get.is_some(), "httpGet"), (probe.tcp_socket.is_some(), "tcpSocket")] {
        if given {
            findings.invalid(format!("{path}.{key}"), "needs a pod network to reach the guest");
        }
    }
}
