//! Disks and volumes.

use serde_json::{Value, json};

use super::{card, disk, rows};

#[test]
fn disks() {
    let (name, device, serial, cache, io) =
        (disk("name"), disk("disk"), disk("serial"), disk("cache"), disk("io"));
    let (cdrom, lun, order, policy, sizes) =
        (disk("cdrom"), disk("lun"), disk("bootOrder"), disk("errorPolicy"), disk("blockSize"));
    let (thread, shared) = (disk("dedicatedIOThread"), disk("shareable"));
    let odd = "devices.disks.domain.devices.disks";
    let (odd_name, odd_pci) = (format!("Invalid {odd}[0].name"), format!("Invalid {odd}.disk[0].pciAddress"));
    let (odd_disk, odd_io) = (format!("NotSupported {odd}[0]"), format!("NotSupported {odd}[0].io"));
    let claim = || ("volumes.0", json!({"name": "root", "persistentVolumeClaim": {"claimName": "c"}}));
    rows(vec![
        (
            vec![("domain.devices.disks.1", json!({"name": "root", "disk": {"bus": "virtio"}}))],
            &["Invalid devices.disks[1].name"],
        ),
        (vec![(&name, json!("other"))], &["Invalid devices.disks[0].name"]),
        (vec![(&name, json!("Root")), ("volumes.0.name", json!("Root"))], &[&odd_name]),
        (vec![(&cdrom, json!({}))], &["Invalid devices.disks[0]"]),
        (vec![(&device, json!({"bus": "ide"}))], &["Invalid devices.disks[0].disk.bus"]),
        (vec![(&device, json!({"bus": "sata", "readonly": true}))], &["Invalid devices.disks[0].disk.bus"]),
        (vec![(&device, json!({"bus": "scsi", "pciAddress": "0000:01:00.0"}))], &[&odd_pci]),
        (vec![(&device, json!({"bus": "virtio", "pciAddress": "1:2:3"}))], &[&odd_pci]),
        (
            vec![(&device, Value::Null), (&cdrom, json!({"bus": "virtio"}))],
            &["Invalid devices.disks[0].cdrom.bus"],
        ),
        (vec![(&device, Value::Null), (&cdrom, json!({})), (&name, json!("empty"))], &[]),
        (vec![(&device, Value::Null), (&lun, json!({}))], &["Invalid devices.disks[0].lun"]),
        (vec![claim(), (&device, Value::Null), (&lun, json!({}))], &[]),
        (
            vec![claim(), (&device, Value::Null), (&lun, json!({"bus": "scsi", "reservation": true}))],
            &["NotSupported devices.disks[0].lun.reservation"],
        ),
        (vec![(&order, json!(0))], &["Invalid devices.disks[0].bootOrder"]),
        (
            vec![(&order, json!(1)), (&card("bootOrder"), json!(1))],
            &["Invalid devices.interfaces[0].bootOrder"],
        ),
        (vec![(&card("bootOrder"), json!(0))], &["Invalid spec[0].bootOrder"]),
        (vec![(&serial, json!("a b"))], &["Invalid devices.disks[0].serial"]),
        (vec![(&cache, json!("fast"))], &["Invalid devices.disks[0].cache"]),
        (vec![(&io, json!("default"))], &[&odd_io]),
        (vec![(&policy, json!(""))], &["Invalid devices.disks[0].errorPolicy"]),
        (vec![(&sizes, json!({"custom": {"logical": 512, "physical": 4096}}))], &[]),
        (
            vec![(&sizes, json!({"custom": {"logical": 4096, "physical": 512}}))],
            &["Invalid devices.disks[0].blockSize.custom.logical"],
        ),
        (
            vec![(&sizes, json!({"custom": {"logical": 600, "physical": 600}}))],
            &[
                "Invalid devices.disks[0].blockSize.custom.logical",
                "Invalid devices.disks[0].blockSize.custom.physical",
            ],
        ),
        (
            vec![(&sizes, json!({"custom": {"logical": 512, "physical": 512, "discardGranularity": 700}}))],
            &["NotSupported devices.disks[0].blockSize.custom.discardGranularity"],
        ),
        (
            vec![(&sizes, json!({"custom": {"logical": 512, "physical": 512}, "matchVolume": {}}))],
            &["Invalid devices.disks[0].blockSize"],
        ),
        (vec![(&device, json!({"bus": "sata"})), (&thread, json!(true))], &[&odd_disk]),
        (
            vec![(&shared, json!(true)), (&cache, json!("writeback"))],
            &["NotSupported devices.disks[0].cache"],
        ),
    ]);
}

#[test]
fn volumes() {
    let volume = |value: Value| {
        let mut volume = value;
        volume["name"] = json!("root");
        ("volumes.0", volume)
    };
    let long = "x".repeat(2049);
    rows(vec![
        (vec![volume(json!({}))], &["Invalid spec.volumes[0]"]),
        (
            vec![volume(json!({"containerDisk": {"image": "i"}, "emptyDisk": {"capacity": "1Gi"}}))],
            &["Invalid spec.volumes[0]"],
        ),
        (
            vec![("volumes.1", json!({"name": "root", "emptyDisk": {"capacity": "1Gi"}}))],
            &["Invalid spec.volumes[1].name"],
        ),
        (
            vec![volume(json!({"containerDisk": {"image": "i", "path": "a"}}))],
            &["Invalid spec.volumes[0].containerDisk"],
        ),
        (vec![volume(json!({"dataVolume": {"name": ""}}))], &["Required spec.volumes[0].name"]),
        (
            vec![volume(json!({"containerDisk": {"image": ""}}))],
            &["NotSupported spec.volumes[0].containerDisk.image"],
        ),
        (
            vec![volume(json!({"emptyDisk": {"capacity": "0"}}))],
            &["NotSupported spec.volumes[0].emptyDisk.capacity"],
        ),
        (
            vec![volume(json!({"hostDisk": {"path": "", "type": "Disk"}}))],
            &["NotFound spec.volumes[0].hostDisk.path"],
        ),
        (
            vec![volume(json!({"hostDisk": {"path": "/d", "type": "Maybe"}}))],
            &["Invalid spec.volumes[0].hostDisk.type"],
        ),
        (
            vec![volume(json!({"hostDisk": {"path": "/d", "type": "Disk", "capacity": "1Gi"}}))],
            &["Invalid spec.volumes[0].hostDisk.capacity"],
        ),
        (vec![volume(json!({"cloudInitNoCloud": {}}))], &["Invalid spec.volumes[0].cloudInitNoCloud"]),
        (
            vec![volume(json!({"cloudInitNoCloud": {"userData": long}}))],
            &["Invalid spec.volumes[0].cloudInitNoCloud"],
        ),
        (
            vec![volume(json!({"cloudInitNoCloud": {"userData": "a", "secretRef": {"name": "s"}}}))],
            &["Invalid spec.volumes[0].cloudInitNoCloud"],
        ),
        (
            vec![volume(json!({"cloudInitNoCloud": {"networkDataBase64": "!"}}))],
            &["Invalid spec.volumes[0].cloudInitNoCloud.networkDataBase64"],
        ),
        (
            vec![
                ("volumes.1", json!({"name": "a", "downwardMetrics": {}})),
                ("volumes.2", json!({"name": "b", "downwardMetrics": {}})),
            ],
            &[
                "Invalid devices.disks[1].disk.bus",
                "Invalid devices.disks[2].disk.bus",
                "Invalid spec.volumes",
                "NotSupported spec.volumes[1].downwardMetrics",
                "NotSupported spec.volumes[2].downwardMetrics",
            ],
        ),
        (
            vec![("utilityVolumes", json!([{"name": "u", "claimName": "c"}]))],
            &["Invalid spec.utilityVolumes"],
        ),
        (
            vec![("volumes", vec![json!({"name": "x", "emptyDisk": {"capacity": "1"}}); 257].into())],
            &["Invalid spec.volumes"],
        ),
    ]);
}
