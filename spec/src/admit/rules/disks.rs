//! Disks.

use std::collections::BTreeSet;

use super::super::{Findings, Reason};
use super::similar;
use crate::api::{
    Disk, DiskBus, DiskCache, DiskDevice, DiskIo, ErrorPolicy, FeatureState, VirtualMachineInstanceSpec,
    VolumeSource,
};
use crate::formats;

/// The sizes of blocks that disks can have.
const BLOCK_SIZES: std::ops::RangeInclusive<u64> = 512..=2_097_152;

/// The path of a disk.
fn at(index: usize) -> String {
    format!("spec.domain.devices.disks[{index}]")
}

/// How a cluster names a disk in a few of its answers.
fn odd(index: usize, rest: &str) -> String {
    format!("spec.domain.devices.disks.domain.devices.disks{rest}").replace("[]", &format!("[{index}]"))
}

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    disk_names_are_unique(spec, findings);
    for (index, disk) in spec.domain.devices.disks.iter().enumerate() {
        disk_has_volume(index, disk, spec, findings);
        disk_name_is_a_label(index, disk, findings);
        disk_is_one_device(index, disk, findings);
        bus_is_known(index, disk, findings);
        bus_fits_device(index, disk, findings);
        lun_shows_a_claim(index, disk, spec, findings);
        measurements_are_on_virtio(index, disk, spec, findings);
        own_thread_needs_virtio(index, disk, findings);
        pci_address_needs_virtio(index, disk, findings);
        serial_is_a_serial(index, disk, findings);
        cache_and_io_are_known(index, disk, findings);
        error_policy_is_known(index, disk, findings);
        block_sizes_fit(index, disk, findings);
        shareable_disks_are_not_cached(index, disk, findings);
    }
}

/// KubeVirt puts a disk without a bus on SATA; kubevmm has virtio only.
pub(super) fn disk_without_bus_is_virtio(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let message = "the disk has no bus (SATA in KubeVirt) and is attached as virtio-blk: the guest sees it as vdX; \
                   give bus: virtio";
    let disks = &spec.domain.devices.disks;
    for (index, disk) in disks.iter().enumerate() {
        match &disk.device {
            DiskDevice::Missing => findings.warn(at(index), message),
            DiskDevice::Disk(target) if target.bus.is_none() => {
                findings.warn(format!("{}.disk", at(index)), message);
            }
            _ => {}
        }
    }
    for (index, volume) in spec.volumes.iter().enumerate() {
        let is_shown = disks.iter().any(|disk| disk.name == volume.name)
            || spec.domain.devices.filesystems.iter().any(|filesystem| filesystem.name == volume.name);
        if !is_shown && !matches!(volume.source, VolumeSource::MemoryDump(_)) {
            let message = "no disk shows the volume: one is added, as virtio-blk (SATA in KubeVirt)";
            findings.warn(format!("spec.volumes[{index}]"), message);
        }
    }
}

fn disk_names_are_unique(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, disk) in spec.domain.devices.disks.iter().enumerate() {
        if !seen.insert(&disk.name) {
            let message = format!("there is another disk named {:?}: give this one another name", disk.name);
            findings.invalid(format!("{}.name", at(index)), message);
        }
    }
}

/// Every disk shows a volume, but for an empty CD-ROM drive.
fn disk_has_volume(
    index: usize,
    disk: &Disk,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    let has_volume = spec.volumes.iter().any(|volume| volume.name == disk.name);
    if !has_volume && !matches!(disk.device, DiskDevice::CdRom(_)) && findings.has_read("spec.volumes") {
        let hint = similar(&disk.name, spec.volumes.iter().map(|volume| volume.name.as_str()));
        let message = format!("there is no volume named {:?}{hint}: add it to spec.volumes", disk.name);
        findings.invalid(format!("{}.name", at(index)), message);
    }
}

fn disk_name_is_a_label(index: usize, disk: &Disk, findings: &mut Findings<'_>) {
    if let Some(fault) = formats::label(&disk.name) {
        let path = format!("{}.name", at(index));
        findings.put_as(Reason::Invalid, odd(index, "[].name"), path, fault);
    }
}

fn disk_is_one_device(index: usize, disk: &Disk, findings: &mut Findings<'_>) {
    if let DiskDevice::Several(_) = disk.device {
        findings.invalid(at(index), "disk, lun and cdrom exclude each other: keep one");
    }
}

fn bus(disk: &Disk) -> Option<(&DiskBus, &'static str)> {
    let key = disk.device.key()?;
    let bus = match &disk.device {
        DiskDevice::Disk(target) => target.bus.as_ref(),
        DiskDevice::Lun(target) => target.bus.as_ref(),
        DiskDevice::CdRom(target) => target.bus.as_ref(),
        _ => None,
    };
    bus.map(|bus| (bus, key))
}

fn bus_is_known(index: usize, disk: &Disk, findings: &mut Findings<'_>) {
    if let Some((DiskBus::Other(word), key)) = bus(disk) {
        let message = match word.as_str() {
            "ide" => "q35 has no IDE bus: use virtio".to_owned(),
            _ => format!("{word:?} is not a bus for disks: use virtio, sata, scsi or usb"),
        };
        findings.invalid(format!("{}.{key}.bus", at(index)), message);
    }
}

fn bus_fits_device(index: usize, disk: &Disk, findings: &mut Findings<'_>) {
    let message = match &disk.device {
        DiskDevice::CdRom(target) if target.bus == Some(DiskBus::Virtio) => {
            "CD-ROM drives are not on virtio: use sata, or a read-only disk"
        }
        DiskDevice::Disk(target) if target.bus == Some(DiskBus::Sata) && target.readonly => {
            "SATA disks cannot be read-only: use bus virtio, or cdrom"
        }
        DiskDevice::Lun(target) if target.reservation && target.bus != Some(DiskBus::Scsi) => {
            "persistent reservations need bus scsi"
        }
        _ => return,
    };
    let key = disk.device.key().unwrap_or_default();
    findings.invalid(format!("{}.{key}.bus", at(index)), message);
}

fn source<'a>(disk: &Disk, spec: &'a VirtualMachineInstanceSpec) -> Option<&'a VolumeSource> {
    spec.volumes.iter().find(|volume| volume.name == disk.name).map(|volume| &volume.source)
}

fn lun_shows_a_claim(
    index: usize,
    disk: &Disk,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    let is_claim = |source: &VolumeSource| {
        matches!(source, VolumeSource::PersistentVolumeClaim(_) | VolumeSource::DataVolume(_))
    };
    if matches!(disk.device, DiskDevice::Lun(_)) && source(disk, spec).is_some_and(|source| !is_claim(source))
    {
        let message = "a lun shows a persistentVolumeClaim or dataVolume only: use disk";
        findings.invalid(format!("{}.lun", at(index)), message);
    }
}

fn measurements_are_on_virtio(
    index: usize,
    disk: &Disk,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    if !matches!(source(disk, spec), Some(VolumeSource::DownwardMetrics(_))) {
        return;
    }
    match &disk.device {
        DiskDevice::Disk(target) if target.bus == Some(DiskBus::Virtio) => {}
        DiskDevice::Disk(_) => {
            findings.invalid(format!("{}.disk.bus", at(index)), "downwardMetrics needs bus virtio");
        }
        _ => findings.required(format!("{}.disk", at(index)), "downwardMetrics needs a disk on bus virtio"),
    }
}

fn own_thread_needs_virtio(index: usize, disk: &Disk, findings: &mut Findings<'_>) {
    let is_virtio = bus(disk).is_none_or(|(bus, _)| *bus == DiskBus::Virtio);
    if disk.dedicated_io_thread == Some(true) && !is_virtio {
        let path = format!("{}.dedicatedIOThread", at(index));
        let message = "only disks on bus virtio can have an I/O thread of their own";
        findings.put_as(Reason::NotSupported, odd(index, "[]"), path, message);
    }
}

fn pci_address_needs_virtio(index: usize, disk: &Disk, findings: &mut Findings<'_>) {
    let DiskDevice::Disk(target) = &disk.device else { return };
    if target.pci_address.is_empty() {
        return;
    }
    let mut fault = |message: &str| {
        let path = format!("{}.disk.pciAddress", at(index));
        findings.put_as(Reason::Invalid, odd(index, ".disk[].pciAddress"), path, message);
    };
    if target.bus != Some(DiskBus::Virtio) {
        fault("only disks on bus virtio have a PCI address");
    }
    if let Some(message) = formats::pci_address(&target.pci_address) {
        fault(message);
    }
}

fn serial_is_a_serial(index: usize, disk: &Disk, findings: &mut Findings<'_>) {
    if let Some(fault) = formats::serial(&disk.serial) {
        findings.invalid(format!("{}.serial", at(index)), fault);
    }
}

fn cache_and_io_are_known(index: usize, disk: &Disk, findings: &mut Findings<'_>) {
    if let Some(DiskCache::Other(word)) = &disk.cache {
        let path = format!("{}.cache", at(index));
        match word.as_str() {
            // Newer releases of KubeVirt know it.
            "directsync" => findings.cannot(path, "disks cannot be synchronous: use none or writethrough"),
            _ => {
                let message = format!("{word:?} is not a cache mode: use none, writethrough or writeback");
                findings.invalid(path, message);
            }
        }
    }
    if let Some(DiskIo::Other(word)) = &disk.io {
        let message = format!("{word:?} is not an I/O mode: use native or threads");
        let path = format!("{}.io", at(index));
        findings.put_as(Reason::NotSupported, odd(index, "[].io"), path, message);
    }
}

fn error_policy_is_known(index: usize, disk: &Disk, findings: &mut Findings<'_>) {
    if let Some(ErrorPolicy::Other(word)) = &disk.error_policy {
        let known = ErrorPolicy::WORDS.join(", ");
        let message = format!("{word:?} is not an error policy: use one of {known}");
        findings.invalid(format!("{}.errorPolicy", at(index)), message);
    }
}

fn block_sizes_fit(index: usize, disk: &Disk, findings: &mut Findings<'_>) {
    let Some(sizes) = &disk.block_size else { return };
    let Some(custom) = &sizes.custom else { return };
    let path = format!("{}.blockSize", at(index));
    if sizes.match_volume.as_ref().is_some_and(FeatureState::is_on) {
        return findings.invalid(path, "custom and matchVolume exclude each other: keep one");
    }
    let is_sata = bus(disk).is_some_and(|(bus, _)| *bus == DiskBus::Sata);
    let logical = format!("{path}.custom.logical");
    if custom.logical > custom.physical {
        return findings.invalid(logical, "the logical size must not be larger than the physical");
    }
    if is_sata && custom.logical != 512 {
        return findings
            .invalid(logical, "disks on SATA (the default bus) have 512 byte blocks: use bus virtio");
    }
    let granularity = custom.discard_granularity.unwrap_or(0);
    if granularity.checked_rem(custom.logical).unwrap_or(0) != 0 {
        let path = format!("{path}.custom.discardGranularity");
        return findings.cannot(path, "must be a multiple of the logical size");
    }
    for (size, key) in [(custom.logical, "logical"), (custom.physical, "physical")] {
        if !BLOCK_SIZES.contains(&size) || !size.is_power_of_two() {
            let message = format!("{size} is not a power of two from 512 to 2097152");
            findings.invalid(format!("{path}.custom.{key}"), message);
        }
    }
}

fn shareable_disks_are_not_cached(index: usize, disk: &Disk, findings: &mut Findings<'_>) {
    let is_cached = disk.cache.as_ref().is_some_and(|cache| *cache != DiskCache::None);
    if disk.shareable == Some(true) && is_cached {
        findings.cannot(format!("{}.cache", at(index)), "shareable disks must not be cached: use none");
    }
}
