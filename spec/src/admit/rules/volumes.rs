//! Volumes.

use std::collections::BTreeSet;

use super::super::{Findings, Reason};
use crate::api::{HostDisk, HostDiskType, Quantity, VirtualMachineInstanceSpec, Volume, VolumeSource};
use crate::formats;

/// The path of a volume.
fn at(index: usize) -> String {
    format!("spec.volumes[{index}]")
}

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    volume_names_are_unique(spec, findings);
    for (index, volume) in spec.volumes.iter().enumerate() {
        volume_has_one_source(index, volume, findings);
        source_names_something(index, volume, findings);
        source_is_whole(index, volume, findings);
        image_path_is_absolute(index, volume, findings);
        if let VolumeSource::HostDisk(disk) = &volume.source {
            host_disk_is_whole(index, disk, findings);
        }
    }
    single_volumes_are_single(spec, findings);
    utility_volumes_come_later(spec, findings);
}

fn volume_names_are_unique(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        if !seen.insert(&volume.name) {
            let message =
                format!("there is another volume named {:?}: give this one another name", volume.name);
            findings.invalid(format!("{}.name", at(index)), message);
        }
    }
}

fn volume_has_one_source(index: usize, volume: &Volume, findings: &mut Findings<'_>) {
    match &volume.source {
        VolumeSource::Missing => {
            findings.invalid(at(index), "the volume has no source: give one, e.g. containerDisk");
        }
        VolumeSource::Several(all) => {
            let names: Vec<_> = all.iter().filter_map(VolumeSource::key).collect();
            let message = format!("the volume has several sources ({}): keep one", names.join(", "));
            findings.invalid(at(index), message);
        }
        _ => {}
    }
}

/// The source names the object it is taken from.
fn source_names_something(index: usize, volume: &Volume, findings: &mut Findings<'_>) {
    let (name, path) = match &volume.source {
        VolumeSource::ConfigMap(source) => (&source.name, "configMap.name"),
        VolumeSource::Secret(source) => (&source.secret_name, "secret.secretName"),
        VolumeSource::ServiceAccount(source) => {
            (&source.service_account_name, "serviceAccount.serviceAccountName")
        }
        VolumeSource::DataVolume(source) if source.name.is_empty() => {
            let path = format!("{}.dataVolume.name", at(index));
            return findings.put_as(
                Reason::Required,
                format!("{}.name", at(index)),
                path,
                "must not be empty",
            );
        }
        _ => return,
    };
    if name.is_empty() {
        findings.invalid(format!("{}.{path}", at(index)), "must not be empty");
    }
}

/// What a machine could not start with, though a cluster takes it. (Claims without a name are looked for when it is run.)
fn source_is_whole(index: usize, volume: &Volume, findings: &mut Findings<'_>) {
    let (path, message) = match &volume.source {
        VolumeSource::ContainerDisk(disk) if disk.image.is_empty() => {
            ("containerDisk.image", "give the image that holds the disk")
        }
        VolumeSource::EmptyDisk(disk) if disk.capacity <= Quantity::default() => {
            ("emptyDisk.capacity", "give a size above zero, e.g. 2Gi")
        }
        VolumeSource::Ephemeral(source) if source.persistent_volume_claim.is_none() => {
            ("ephemeral", "give persistentVolumeClaim")
        }
        VolumeSource::Sysprep(source) if source.config_map.is_some() == source.secret.is_some() => {
            ("sysprep", "give exactly one of configMap and secret")
        }
        VolumeSource::ContainerPath(source) if !source.path.starts_with('/') => {
            ("containerPath.path", "give an absolute path")
        }
        _ => return,
    };
    findings.cannot(format!("{}.{path}", at(index)), message);
}

fn image_path_is_absolute(index: usize, volume: &Volume, findings: &mut Findings<'_>) {
    let VolumeSource::ContainerDisk(disk) = &volume.source else { return };
    if let Some(fault) = formats::image_path(&disk.path).filter(|_| !disk.path.is_empty()) {
        let path = format!("{}.containerDisk.path", at(index));
        findings.put_as(Reason::Invalid, format!("{}.containerDisk", at(index)), path, fault);
    }
}

fn host_disk_is_whole(index: usize, disk: &HostDisk, findings: &mut Findings<'_>) {
    let path = |key: &str| format!("{}.hostDisk.{key}", at(index));
    if disk.path.is_empty() {
        findings.put(Reason::NotFound, path("path"), "give the file on the host");
    }
    match &disk.r#type {
        Some(HostDiskType::Disk) => {
            if disk.capacity.as_ref().is_some_and(|capacity| !capacity.is_zero()) {
                findings.invalid(
                    path("capacity"),
                    "is only for type DiskOrCreate: an existing disk has its size",
                );
            }
        }
        Some(HostDiskType::DiskOrCreate) => {
            if disk.capacity.as_ref().is_some_and(Quantity::is_negative) {
                findings.cannot(path("capacity"), "must not be below zero");
            }
        }
        None | Some(HostDiskType::Other(_)) => findings.invalid(path("type"), "must be Disk or DiskOrCreate"),
    }
}

/// Of some volumes there is at most one.
fn single_volumes_are_single(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for kind in ["serviceAccount", "downwardMetrics", "memoryDump"] {
        let has_kind = |volume: &&Volume| volume.source.key() == Some(kind);
        if spec.volumes.iter().filter(has_kind).count() > 1 {
            findings.invalid("spec.volumes", format!("at most one volume may be a {kind}"));
        }
    }
}

/// Helper volumes are added by a cluster while the VM runs.
fn utility_volumes_come_later(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if !spec.utility_volumes.is_empty() {
        let message = "helper volumes are added by a cluster while the VM runs: remove them";
        findings.invalid("spec.utilityVolumes", message);
    }
}
