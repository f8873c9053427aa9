//! Devices as others describe them. They are read as a manifest that has them only, so that the same rules apply.

use devices::chain;
use serde_json::{Value, json};
use spec::Manifests;
use spec::api::{VirtualMachineInstanceSpec, VolumeSource};

use super::{NewCards, NewDisk};

/// Reads a disk and its volume.
///
/// # Errors
/// What is wrong with them.
pub fn disk(name: &str, disk: &Value, volume: &Value) -> Result<NewDisk, String> {
    let named = |value: &Value| {
        let mut object = value.as_object().cloned().unwrap_or_default();
        object.insert("name".into(), json!(name));
        object
    };
    let spec = machine(json!({
        "domain": {"memory": {"guest": "64Mi"}, "devices": {"disks": [named(disk)]}},
        "volumes": [named(volume)],
    }))?;
    let (Some(disk), Some(volume)) = (spec.domain.devices.disks.first(), spec.volumes.first()) else {
        return Err("disk and volumeSource are needed".into());
    };
    if matches!(volume.source, VolumeSource::PersistentVolumeClaim(_) | VolumeSource::DataVolume(_)) {
        Ok(NewDisk { name: name.to_owned(), disk: disk.clone(), source: volume.source.clone() })
    } else {
        Err("volumeSource is to be a persistentVolumeClaim or a dataVolume".into())
    }
}

/// Reads network cards and their networks.
///
/// # Errors
/// What is wrong with them.
pub fn cards(interfaces: &Value, networks: &Value) -> Result<NewCards, String> {
    let spec = machine(json!({
        "domain": {
            "memory": {"guest": "64Mi"},
            // A machine whose last card goes does not get the usual one for it.
            "devices": {"interfaces": interfaces, "autoattachPodInterface": false},
        },
        "networks": networks,
    }))?;
    Ok(NewCards { interfaces: spec.domain.devices.interfaces, networks: spec.networks })
}

fn machine(spec: Value) -> Result<VirtualMachineInstanceSpec, String> {
    let manifest = json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "request"},
        "spec": spec,
    });
    let unread = || "the request cannot be read".to_owned();
    let manifests = Manifests::parse("request", &manifest.to_string())
        .map_err(|errors| errors.first().map_or_else(unread, |error| chain(error)))?;
    let document = manifests.documents.first().ok_or_else(unread)?;
    let verdict = spec::admit(document, &manifests);
    if let Some(cause) = verdict.causes.first().filter(|_| !verdict.allowed) {
        return Err(format!("{}: {}", cause.path, cause.message));
    }
    verdict.machine().map(|machine| machine.spec.clone()).ok_or_else(unread)
}
