//! What KubeVirt fills in before it looks at a machine. Doing it twice changes nothing.

mod devices;
mod features;
mod sizes;

use crate::api::{
    EvictionStrategy, Firmware, Machine, Probe, VirtualMachineInstance, VirtualMachineInstanceSpec,
    VolumeSource,
};
use crate::uuid::Uuid;

/// Applies all defaults in KubeVirt's order.
pub(super) fn machine(vmi: &mut VirtualMachineInstance) {
    specification(&mut vmi.spec);
    firmware_uuid(vmi.spec.domain.firmware.get_or_insert_default(), &vmi.metadata.name);
}

/// Only the disks and cards that are added, for a preference to fill what they leave open.
pub(super) fn devices_of_volumes(spec: &mut VirtualMachineInstanceSpec) {
    devices::network(spec);
    devices::disk_of_each_volume(spec);
}

/// The defaults that do not depend on the machine's name.
fn specification(spec: &mut VirtualMachineInstanceSpec) {
    let architecture = spec.architecture.get_or_insert_with(|| "amd64".into()).clone();
    machine_type(&mut spec.domain.machine, &architecture);
    sizes::cpu_request(&mut spec.domain);
    sizes::guest_memory(&mut spec.domain);
    sizes::topology(&mut spec.domain);
    sizes::cpu_model(&mut spec.domain, &architecture);
    pull_policies(spec);
    spec.eviction_strategy.get_or_insert(EvictionStrategy::None);
    devices::network(spec);
    devices::disk_of_each_volume(spec);
    devices::disks(&mut spec.domain.devices, &architecture);
    devices::watchdog(&mut spec.domain.devices, &architecture);
    devices::inputs(&mut spec.domain.devices);
    features::acpi(spec.domain.features.get_or_insert_default());
    features::hyperv(&mut spec.domain);
    features::timers(spec.domain.clock.as_mut());
    for probe in [&mut spec.liveness_probe, &mut spec.readiness_probe].into_iter().flatten() {
        probe_times(probe);
    }
}

fn machine_type(machine: &mut Option<Machine>, architecture: &str) {
    let machine = machine.get_or_insert_default();
    if machine.r#type.is_empty() {
        let usual = match architecture {
            "arm64" => "virt",
            "s390x" => "s390-ccw-virtio",
            _ => "q35",
        };
        machine.r#type = usual.into();
    }
}

/// A machine without a UUID gets the one that KubeVirt makes of a VM's name, so that it is the same at every start and
/// cloud-init does not take the guest for a new one.
fn firmware_uuid(firmware: &mut Firmware, name: &str) {
    firmware.uuid.get_or_insert_with(|| Uuid::of_machine(name).to_string());
}

/// Images without a tag, or with the tag `latest`, are always fetched anew.
fn pull_policies(spec: &mut VirtualMachineInstanceSpec) {
    for volume in &mut spec.volumes {
        if let VolumeSource::ContainerDisk(disk) = &mut volume.source {
            let has_digest = disk.image.contains('@');
            let last = disk.image.rsplit('/').next().unwrap_or_default();
            let tag = last.split_once(':').map(|(_, tag)| tag);
            let is_latest = !has_digest && matches!(tag, None | Some("latest"));
            let policy = if is_latest { "Always" } else { "IfNotPresent" };
            disk.image_pull_policy.get_or_insert_with(|| policy.into());
        }
    }
}

/// Times of probes; zero stands for "not given", as it does in a cluster.
fn probe_times(probe: &mut Probe) {
    let defaults = [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ];
    for (value, usual) in defaults {
        if *value == 0 {
            *value = usual;
        }
    }
}
