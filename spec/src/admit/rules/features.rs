//! Hyper-V features and what they need.

use super::super::Findings;
use crate::api::{FeatureHyperv, FeatureState, VirtualMachineInstanceSpec};

const HYPERV: &str = "spec.domain.features.hyperv";

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let Some(features) = &spec.domain.features else { return };
    let Some(hyperv) = &features.hyperv else { return };
    if features.hyperv_passthrough.is_some() {
        let message = "hyperv and hypervPassthrough exclude each other: keep one";
        findings.invalid(HYPERV, message);
    }
    features_have_what_they_need(hyperv, findings);
    spinlocks_are_enough(hyperv, findings);
    vendor_is_short(hyperv, findings);
}

/// Some features build on others; one that is switched off explicitly cannot be built on.
fn features_have_what_they_need(hyperv: &FeatureHyperv, findings: &mut Findings<'_>) {
    let is_on = |feature: &Option<FeatureState>| feature.as_ref().is_some_and(FeatureState::is_on);
    let is_off = |feature: &Option<FeatureState>| feature.as_ref().is_some_and(|feature| !feature.is_on());
    let timer = hyperv.synictimer.as_ref().is_some_and(|timer| timer.enabled != Some(false));
    let flush = hyperv.tlbflush.as_ref().is_some_and(|flush| flush.enabled != Some(false));
    let needs = [
        ("evmcs", is_on(&hyperv.evmcs), "vapic", is_off(&hyperv.vapic)),
        ("ipi", is_on(&hyperv.ipi), "vpindex", is_off(&hyperv.vpindex)),
        ("tlbflush", flush, "vpindex", is_off(&hyperv.vpindex)),
        ("synictimer", timer, "synic", is_off(&hyperv.synic)),
        ("synic", is_on(&hyperv.synic), "vpindex", is_off(&hyperv.vpindex)),
    ];
    for (name, wanted, base, missing) in needs {
        if wanted && missing {
            findings.invalid(format!("{HYPERV}.{name}"), format!("needs {base}, which is switched off"));
        }
    }
}

/// Fewer tries than 4096 make no sense to a guest; KubeVirt's documentation has the same bound.
fn spinlocks_are_enough(hyperv: &FeatureHyperv, findings: &mut Findings<'_>) {
    let tries = hyperv.spinlocks.as_ref().and_then(|spinlocks| spinlocks.spinlocks);
    if tries.is_some_and(|tries| tries < 4096) {
        findings.cannot(format!("{HYPERV}.spinlocks.spinlocks"), "must be at least 4096");
    }
}

/// CPUID has room for 12 characters.
fn vendor_is_short(hyperv: &FeatureHyperv, findings: &mut Findings<'_>) {
    if hyperv.vendorid.as_ref().is_some_and(|vendor| vendor.vendorid.len() > 12) {
        findings.cannot(format!("{HYPERV}.vendorid.vendorid"), "must be at most 12 characters long");
    }
}
