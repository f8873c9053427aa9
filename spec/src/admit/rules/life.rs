//! Start, eviction, reboot.

use super::super::Findings;
use crate::api::{EvictionStrategy, RebootPolicy, StartStrategy, VirtualMachineInstanceSpec};

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    start_strategy_is_known(spec, findings);
    eviction_strategy_is_known(spec, findings);
    reboot_policy_is_known(spec, findings);
}

fn start_strategy_is_known(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    match &spec.start_strategy {
        Some(StartStrategy::Other(word)) => {
            let message = format!("{word:?} is not a start strategy: only Paused is");
            findings.invalid("spec.startStrategy", message);
        }
        Some(StartStrategy::Paused) if spec.liveness_probe.is_some() => {
            let message = "a paused start and a livenessProbe exclude each other: keep one";
            findings.invalid("spec.startStrategy", message);
        }
        _ => {}
    }
}

fn eviction_strategy_is_known(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if let Some(EvictionStrategy::Other(word)) = &spec.eviction_strategy {
        let known = EvictionStrategy::WORDS.join(", ");
        findings.invalid(
            "spec.evictionStrategy",
            format!("{word:?} is not an eviction strategy: use one of {known}"),
        );
    }
}

fn reboot_policy_is_known(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if let Some(RebootPolicy::Other(word)) = &spec.domain.reboot_policy {
        let message = format!("{word:?} is not a reboot policy: use Reboot or Terminate");
        findings.invalid("spec.domain.rebootPolicy", message);
    }
}
