//! Firmware, kernel and identity.

use super::super::{Findings, Reason};
use crate::api::VirtualMachineInstanceSpec;
use crate::uuid::Uuid;

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    uuid_is_a_uuid(spec, findings);
    machine_boots_something(spec, findings);
    machine_type_is_q35(spec, findings);
}

/// The UUID must be one, for it goes into SMBIOS as bytes.
fn uuid_is_a_uuid(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let uuid = spec.domain.firmware.as_ref().and_then(|firmware| firmware.uuid.as_deref());
    if let Some(Err(error)) = uuid.map(str::parse::<Uuid>) {
        findings.invalid("spec.domain.firmware.uuid", error.to_string());
    }
}

/// Without firmware of its own, kubevmm boots kernels only.
fn machine_boots_something(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let firmware = spec.domain.firmware.as_ref();
    let kernel = firmware.and_then(|firmware| firmware.kernel_boot.as_ref());
    if kernel.is_none_or(|kernel| kernel.container.is_none()) {
        let message =
            "there is no BIOS or UEFI yet: give firmware.kernelBoot.container, or --kernel at run time";
        findings.warn("spec.domain.firmware", message);
    }
    let efi = firmware.and_then(|firmware| firmware.bootloader.as_ref()?.efi.as_ref());
    if efi.is_some_and(|efi| efi.secure_boot != Some(false)) {
        let path = "spec.domain.firmware.bootloader.efi.secureBoot";
        let message = "secure boot cannot be enforced: set it to false (it is on unless it says otherwise)";
        findings.put(Reason::NotSupported, path, message);
    }
}

/// kubevmm's machine is a q35, whatever the version.
fn machine_type_is_q35(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let Some(machine) = &spec.domain.machine else { return };
    let kind = &machine.r#type;
    if !(kind.starts_with("q35") || kind.starts_with("pc-q35")) {
        let message = format!("{kind:?} is not a machine type for amd64: use q35");
        findings.invalid("spec.domain.machine.type", message);
    }
}
