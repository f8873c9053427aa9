//! Confidential guests. kubevmm runs none; that a manifest contradicts itself is reported all the same.

use super::super::{Findings, Reason};
use crate::api::{FeatureState, LaunchSecurity, StartStrategy, VirtualMachineInstanceSpec};

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let Some(security) = &spec.domain.launch_security else { return };
    if spec.architecture.as_deref() != Some("amd64") {
        return;
    }
    let kinds = [security.sev.is_some(), security.snp.is_some(), security.tdx.is_some()];
    if kinds.iter().filter(|given| **given).count() != 1 {
        return put(Reason::Forbidden, "give exactly one of sev, snp and tdx", findings);
    }
    tdx_excludes_smm(security, spec, findings);
    guest_boots_with_uefi(security, spec, findings);
    attestation_needs_a_paused_start(security, spec, findings);
    guest_does_not_boot_from_network(spec, findings);
}

/// A cluster names these faults by `spec.launchSecurity`.
fn put(reason: Reason, message: &str, findings: &mut Findings<'_>) {
    findings.put_as(reason, "spec.launchSecurity", "spec.domain.launchSecurity", message);
}

fn tdx_excludes_smm(
    security: &LaunchSecurity,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    let smm = spec.domain.features.as_ref().and_then(|features| features.smm.as_ref());
    if security.tdx.is_some() && smm.is_some_and(FeatureState::is_on) {
        put(Reason::Invalid, "tdx excludes features.smm", findings);
    }
}

fn guest_boots_with_uefi(
    security: &LaunchSecurity,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    let boot = spec.domain.firmware.as_ref().and_then(|firmware| firmware.bootloader.as_ref());
    let Some(efi) = boot.and_then(|boot| boot.efi.as_ref()) else {
        return put(
            Reason::Invalid,
            "confidential guests boot with UEFI: give firmware.bootloader.efi",
            findings,
        );
    };
    if security.tdx.is_none() && efi.secure_boot != Some(false) {
        put(Reason::Invalid, "sev and snp exclude secure boot: set efi.secureBoot to false", findings);
    }
    if security.sev.is_none() && efi.persistent == Some(true) {
        put(Reason::Invalid, "snp and tdx exclude persistent UEFI variables", findings);
    }
}

fn attestation_needs_a_paused_start(
    security: &LaunchSecurity,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    let attests = security.sev.as_ref().is_some_and(|sev| sev.attestation.is_some());
    if attests && spec.start_strategy != Some(StartStrategy::Paused) {
        put(Reason::Invalid, "sev.attestation needs startStrategy: Paused", findings);
    }
}

fn guest_does_not_boot_from_network(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if spec.domain.devices.interfaces.iter().any(|interface| interface.boot_order.is_some()) {
        put(Reason::Invalid, "confidential guests do not boot from the network: remove bootOrder", findings);
    }
}
