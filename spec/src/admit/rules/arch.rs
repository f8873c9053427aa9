//! What depends on the processor's architecture. kubevmm runs amd64 only; manifests for others are checked for
//! what a cluster would say.

use super::super::{Findings, Reason};
use crate::api::{DiskBus, DiskDevice, VirtualMachineInstanceSpec};

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let architecture = spec.architecture.as_deref().unwrap_or("amd64");
    machine_type_is_known(architecture, spec, findings);
    video_type_is_known(architecture, spec, findings);
    match architecture {
        "amd64" => watchdog_is_i6300esb(spec, findings),
        "arm64" => {
            arm_boots_with_plain_uefi(spec, findings);
            arm_passes_the_cpu_through(spec, findings);
            arm_has_virtio_and_scsi_disks(spec, findings);
            arm_has_no_watchdog_and_sound(spec, findings);
        }
        "s390x" => {
            s390x_has_no_panic_devices(spec, findings);
            s390x_has_a_watchdog_of_its_own(spec, findings);
        }
        other => {
            let message = format!("{other:?} is not an architecture: use amd64");
            findings.cannot("spec.architecture", message);
        }
    }
}

fn machine_type_is_known(architecture: &str, spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let (prefixes, usual): (&[&str], _) = match architecture {
        "arm64" => (&["virt"], "virt"),
        "s390x" => (&["s390-ccw-virtio"], "s390-ccw-virtio"),
        _ => (&["q35", "pc-q35"], "q35"),
    };
    let Some(machine) = &spec.domain.machine else { return };
    if !prefixes.iter().any(|prefix| machine.r#type.starts_with(prefix)) {
        let message = format!("{:?} is not a machine type for {architecture}: use {usual}", machine.r#type);
        findings.invalid("spec.domain.machine.type", message);
    }
}

fn video_type_is_known(architecture: &str, spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let known: &[&str] = match architecture {
        "arm64" => &["virtio", "ramfb"],
        "s390x" => &["virtio"],
        _ => &["vga", "cirrus", "virtio", "ramfb", "bochs"],
    };
    let Some(video) = &spec.domain.devices.video else { return };
    if !known.contains(&video.r#type.as_str()) {
        let message = format!(
            "{:?} is not a display for {architecture}: use one of {}",
            video.r#type,
            known.join(", ")
        );
        findings.put(Reason::NotSupported, "spec.domain.devices.video.type", message);
    }
}

fn watchdog_is_i6300esb(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let Some(watchdog) = &spec.domain.devices.watchdog else { return };
    if watchdog.i6300esb.is_none() || watchdog.diag288.is_some() {
        let message = "amd64 has the watchdog i6300esb only";
        findings.put(Reason::NotSupported, "spec.domain.devices.watchdog", message);
    }
}

fn arm_boots_with_plain_uefi(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let boot = spec.domain.firmware.as_ref().and_then(|firmware| firmware.bootloader.as_ref());
    let Some(boot) = boot else { return };
    let path = "spec.domain.firmware.bootloader";
    if boot.bios.is_some() {
        findings.put(Reason::NotSupported, format!("{path}.bios"), "arm64 has no BIOS: use efi");
    }
    if boot.efi.as_ref().is_some_and(|efi| efi.secure_boot != Some(false)) {
        let message = "arm64 has no secure boot: set it to false";
        let field = format!("{path}.efi.secureboot");
        findings.put_as(Reason::NotSupported, field, format!("{path}.efi.secureBoot"), message);
    }
}

fn arm_passes_the_cpu_through(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let model = spec.domain.cpu.as_ref().and_then(|cpu| cpu.model.as_deref());
    if model.is_some_and(|model| model != "host-passthrough") {
        findings.put(Reason::NotSupported, "spec.domain.cpu.model", "arm64 has host-passthrough only");
    }
    if spec.domain.cpu.as_ref().is_some_and(|cpu| cpu.dedicated_cpu_placement && cpu.threads > 1) {
        findings.invalid("spec.architecture", "arm64 has one thread a core");
    }
}

fn arm_has_virtio_and_scsi_disks(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, disk) in spec.domain.devices.disks.iter().enumerate() {
        let bus = match &disk.device {
            DiskDevice::Disk(target) => &target.bus,
            DiskDevice::Lun(target) => &target.bus,
            DiskDevice::CdRom(target) => &target.bus,
            DiskDevice::Missing | DiskDevice::Several(_) => continue,
        };
        if !matches!(bus, None | Some(DiskBus::Virtio | DiskBus::Scsi)) {
            let key = disk.device.key().unwrap_or_default();
            let path = format!("spec.domain.devices.disks[{index}].{key}.bus");
            findings.put(Reason::NotSupported, path, "arm64 has virtio and scsi only");
        }
    }
}

fn arm_has_no_watchdog_and_sound(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let devices = &spec.domain.devices;
    for (given, key) in [(devices.watchdog.is_some(), "watchdog"), (devices.sound.is_some(), "sound")] {
        if given {
            let path = format!("spec.domain.devices.{key}");
            findings.put(Reason::NotSupported, path, format!("arm64 has no {key} device"));
        }
    }
}

fn s390x_has_no_panic_devices(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if !spec.domain.devices.panic_devices.is_empty() {
        findings.invalid("spec.domain.devices.panicDevices", "s390x has no panic devices");
    }
}

fn s390x_has_a_watchdog_of_its_own(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let Some(watchdog) = &spec.domain.devices.watchdog else { return };
    if watchdog.diag288.is_none() || watchdog.i6300esb.is_some() {
        let message = "s390x has the watchdog diag288 only";
        findings.put(Reason::NotSupported, "spec.domain.devices.watchdog", message);
    }
}
