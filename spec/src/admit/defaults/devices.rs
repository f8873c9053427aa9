//! Devices that KubeVirt adds, and what it fills in of those given.

use crate::api::{
    Devices, Disk, DiskBus, DiskDevice, Interface, InterfaceBinding, Network, NetworkSource, PodNetwork,
    Presence, Tray, VirtualMachineInstanceSpec, VolumeSource,
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

/// A disk that does not say what it is, is a hard disk; without a bus it is on SATA, as on KubeVirt's q35.
pub(super) fn disks(devices: &mut Devices) {
    for disk in &mut devices.disks {
        if matches!(disk.device, DiskDevice::Missing) {
            disk.device = DiskDevice::Disk(Default::default());
        }
        match &mut disk.device {
            DiskDevice::Disk(target) => {
                target.bus.get_or_insert(DiskBus::Sata);
            }
            DiskDevice::Lun(target) => {
                target.bus.get_or_insert(DiskBus::Sata);
            }
            DiskDevice::CdRom(target) => {
                target.bus.get_or_insert(DiskBus::Sata);
                target.readonly.get_or_insert(true);
                target.tray.get_or_insert(Tray::Closed);
            }
            DiskDevice::Missing | DiskDevice::Several(_) => {}
        }
    }
}
