//! Firmware, kernel, identity, machine type.

use super::super::{Findings, Reason};
use crate::api::{Firmware, FirmwareAcpi, KernelBoot, VirtualMachineInstanceSpec, VolumeSource};
use crate::formats;
use crate::uuid::Uuid;

const KERNEL: &str = "spec.domain.firmware.kernelBoot";

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    machine_boots_something(spec, findings);
    let Some(firmware) = &spec.domain.firmware else { return };
    uuid_is_a_uuid(firmware, findings);
    serial_is_a_serial(firmware, findings);
    bootloader_is_one(firmware, findings);
    secure_boot_needs_smm(firmware, spec, findings);
    secure_boot_can_be_had(firmware, findings);
    if let Some(kernel) = &firmware.kernel_boot {
        kernel_args_need_a_kernel(kernel, findings);
        kernel_container_is_whole(kernel, findings);
    }
    if let Some(acpi) = &firmware.acpi {
        acpi_tables_come_from_secrets(acpi, spec, findings);
    }
}

/// The UUID must be one, for it goes into SMBIOS as bytes.
fn uuid_is_a_uuid(firmware: &Firmware, findings: &mut Findings<'_>) {
    if let Some(Err(error)) = firmware.uuid.as_deref().map(str::parse::<Uuid>) {
        findings.cannot("spec.domain.firmware.uuid", error.to_string());
    }
}

fn serial_is_a_serial(firmware: &Firmware, findings: &mut Findings<'_>) {
    if let Some(fault) = firmware.serial.as_deref().and_then(formats::serial) {
        findings.invalid("spec.domain.firmware.serial", fault);
    }
}

fn bootloader_is_one(firmware: &Firmware, findings: &mut Findings<'_>) {
    if firmware.bootloader.as_ref().is_some_and(|boot| boot.bios.is_some() && boot.efi.is_some()) {
        findings.invalid("spec.domain.firmware.bootloader", "bios and efi exclude each other: keep one");
    }
}

fn has_secure_boot(firmware: &Firmware) -> bool {
    let efi = firmware.bootloader.as_ref().and_then(|boot| boot.efi.as_ref());
    efi.is_some_and(|efi| efi.secure_boot != Some(false))
}

fn secure_boot_needs_smm(
    firmware: &Firmware,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    let smm = spec.domain.features.as_ref().and_then(|features| features.smm.as_ref());
    if has_secure_boot(firmware) && !smm.is_some_and(crate::api::FeatureState::is_on) {
        let message = "efi boots securely unless it says secureBoot: false, and that needs features.smm: {}";
        let path = "spec.domain.firmware.bootloader.efi";
        findings.put_as(Reason::Invalid, "spec.domain", path, message);
    }
}

/// A guest that relies on secure boot must not be run without; it is on unless it says otherwise. (The words are those of
/// the table of fields, which speaks where the manifest itself says so.)
fn secure_boot_can_be_had(firmware: &Firmware, findings: &mut Findings<'_>) {
    if has_secure_boot(firmware) {
        let path = "spec.domain.firmware.bootloader.efi.secureBoot";
        findings.cannot(path, "secure boot cannot be enforced: set it to false");
    }
}

/// Without firmware programs of its own, kubevmm boots kernels only.
fn machine_boots_something(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let kernel = spec.domain.firmware.as_ref().and_then(|firmware| firmware.kernel_boot.as_ref());
    if kernel.is_none_or(|kernel| kernel.container.is_none()) {
        let message =
            "there is no BIOS or UEFI yet: give firmware.kernelBoot.container, or --kernel at run time";
        findings.warn("spec.domain.firmware", message);
    }
}

fn kernel_args_need_a_kernel(kernel: &KernelBoot, findings: &mut Findings<'_>) {
    if kernel.container.is_none() && !kernel.kernel_args.is_empty() {
        findings.invalid(format!("{KERNEL}.kernelArgs"), "is of no use without kernelBoot.container");
    }
}

fn kernel_container_is_whole(kernel: &KernelBoot, findings: &mut Findings<'_>) {
    let Some(container) = &kernel.container else { return };
    if container.image.is_empty() {
        findings.required(format!("{KERNEL}.container.image"), "give the image that holds the kernel");
    }
    if container.kernel_path.is_empty() && container.initrd_path.is_empty() {
        findings.required(format!("{KERNEL}.container"), "give kernelPath, initrdPath or both");
    }
    for (path, name) in [(&container.kernel_path, "kernelPath"), (&container.initrd_path, "initrdPath")] {
        if let Some(fault) = formats::image_path(path).filter(|_| !path.is_empty()) {
            findings.invalid(format!("{KERNEL}.container.{name}"), fault);
        }
    }
}

fn acpi_tables_come_from_secrets(
    acpi: &FirmwareAcpi,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    if acpi.slic_name_ref.is_empty() && acpi.msdm_name_ref.is_empty() {
        let path = "spec.domain.firmware.acpi";
        findings.put_as(Reason::Invalid, "spec.acpi", path, "give slicNameRef or msdmNameRef");
    }
    for (name, key) in [(&acpi.slic_name_ref, "slicNameRef"), (&acpi.msdm_name_ref, "msdmNameRef")] {
        let volume = spec.volumes.iter().find(|volume| volume.name == *name);
        let message = match volume.map(|volume| &volume.source) {
            _ if name.is_empty() => continue,
            Some(VolumeSource::Secret(_)) => continue,
            Some(_) => format!("the volume {name:?} must be a secret"),
            None => format!("there is no volume named {name:?}"),
        };
        let path = format!("spec.domain.firmware.acpi.{key}");
        findings.put_as(Reason::Invalid, format!("spec.acpi.{key}"), path, message);
    }
}
