//! Disks and volumes.

use std::collections::BTreeSet;

use super::super::Findings;
use crate::api::{DiskDevice, VirtualMachineInstanceSpec, VolumeSource};

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    disk_names_are_unique(spec, findings);
    volume_names_are_unique(spec, findings);
    disk_has_volume(spec, findings);
    volume_has_one_source(spec, findings);
}

fn disk_names_are_unique(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, disk) in spec.domain.devices.disks.iter().enumerate() {
        if !seen.insert(&disk.name) {
            let message = format!("there is another disk named {:?}: names must differ", disk.name);
            findings.invalid(format!("spec.domain.devices.disks[{index}].name"), message);
        }
    }
}

fn volume_names_are_unique(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        if !seen.insert(&volume.name) {
            let message = format!("there is another volume named {:?}: names must differ", volume.name);
            findings.invalid(format!("spec.volumes[{index}].name"), message);
        }
    }
}

/// Every disk shows a volume, but for an empty CD-ROM drive.
fn disk_has_volume(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, disk) in spec.domain.devices.disks.iter().enumerate() {
        let has_volume = spec.volumes.iter().any(|volume| volume.name == disk.name);
        if !has_volume && !matches!(disk.device, DiskDevice::CdRom(_)) {
            let message = format!("there is no volume named {:?}: add it to spec.volumes", disk.name);
            findings.invalid(format!("spec.domain.devices.disks[{index}].name"), message);
        }
    }
}

fn volume_has_one_source(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, volume) in spec.volumes.iter().enumerate() {
        let message = match &volume.source {
            VolumeSource::Missing => "the volume has no source: give one, e.g. containerDisk".to_owned(),
            VolumeSource::Several(all) => {
                let names: Vec<_> = all.iter().filter_map(VolumeSource::key).collect();
                format!("the volume has several sources ({}): keep one", names.join(", "))
            }
            _ => continue,
        };
        findings.invalid(format!("spec.volumes[{index}]"), message);
    }
}
