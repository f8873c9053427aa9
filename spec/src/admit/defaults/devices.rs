//! Devices that KubeVirt adds, and what it fills in of those given.

use crate::api::{
    Devices, Diag288Watchdog, Disk, DiskBus, DiskDevice, DiskTarget, I6300EsbWatchdog, Interface,
    InterfaceBinding, Network, NetworkSource, PodNetwork, Presence, Tray, VirtualMachineInstanceSpec,
    VolumeSource,
};

/// Without cards and networks the machine gets a bridged card on the pod network.
pub(super) fn network(spec: &mut VirtualMachineInstanceSpec) {
    let devices = &mut spec.domain.devices;
    let is_given = !spec.networks.is_empty() || !devices.interfaces.is_empty();
    if is_given || devices.autoattach_pod_interface == Some(false) {
        return;
    }
    let name = "default".to_owned();
    let binding = InterfaceBinding::Bridge(Presence::default());
    devices.interfaces.push(Interface { name: name.clone(), binding, ..Interface::default() });
    spec.networks.push(Network { name, source: NetworkSource::Pod(PodNetwork::default()) });
}

/// Every volume that no disk and no file system shows gets a disk.
pub(super) fn disk_of_each_volume(spec: &mut VirtualMachineInstanceSpec) {
    let devices = &mut spec.domain.devices;
    for volume in &spec.volumes {
        let is_shown = devices.disks.iter().any(|disk| disk.name == volume.name)
            || devices.filesystems.iter().any(|filesystem| filesystem.name == volume.name)
            || matches!(volume.source, VolumeSource::MemoryDump(_));
        if !is_shown {
            devices.disks.push(Disk { name: volume.name.clone(), ..Disk::default() });
        }
    }
}

/// A disk that does not say what it is, is a hard disk; without a bus it is on KubeVirt's usual one.
pub(super) fn disks(devices: &mut Devices, architecture: &str) {
    let usual = if architecture == "amd64" { DiskBus::Sata } else { DiskBus::Virtio };
    for disk in &mut devices.disks {
        if matches!(disk.device, DiskDevice::Missing) {
            disk.device = DiskDevice::Disk(DiskTarget::default());
        }
        match &mut disk.device {
            DiskDevice::Disk(target) => {
                target.bus.get_or_insert_with(|| usual.clone());
            }
            DiskDevice::Lun(target) => {
                target.bus.get_or_insert_with(|| usual.clone());
            }
            DiskDevice::CdRom(target) => {
                let usual = if architecture == "arm64" { DiskBus::Scsi } else { DiskBus::Sata };
                target.bus.get_or_insert(usual);
                target.readonly.get_or_insert(true);
                target.tray.get_or_insert(Tray::Closed);
            }
            DiskDevice::Missing | DiskDevice::Several(_) => {}
        }
    }
}

/// A watchdog that names no device is the usual one, and resets the machine.
pub(super) fn watchdog(devices: &mut Devices, architecture: &str) {
    let Some(watchdog) = &mut devices.watchdog else { return };
    if watchdog.i6300esb.is_none() && watchdog.diag288.is_none() {
        match architecture {
            "amd64" => watchdog.i6300esb = Some(I6300EsbWatchdog::default()),
            "s390x" => watchdog.diag288 = Some(Diag288Watchdog::default()),
            _ => {}
        }
    }
    let actions = [
        watchdog.i6300esb.as_mut().map(|device| &mut device.action),
        watchdog.diag288.as_mut().map(|device| &mut device.action),
    ];
    for action in actions.into_iter().flatten().filter(|action| action.is_empty()) {
        *action = "reset".into();
    }
}

/// An input device that does not say what it is, is a tablet on USB.
pub(super) fn inputs(devices: &mut Devices) {
    for input in &mut devices.inputs {
        if input.bus.is_empty() {
            input.bus = "usb".into();
        }
        if input.r#type.is_empty() {
            input.r#type = "tablet".into();
        }
    }
}
