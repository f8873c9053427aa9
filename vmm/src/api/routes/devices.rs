//! Subresources about the machine's memory and disks (KubeVirt: `pkg/virt-api/rest/volumes.go`; the last three are ours).

use devices::chain;
use serde::Deserialize;
use serde_json::{Value, json};
use spec::Manifests;
use spec::api::{Quantity, VolumeSource};

use super::machine::named;
use super::operate::{DRY_RUN, ask, is_dry, put, subresource};
use crate::api::http::Response;
use crate::api::router::{Call, Route};
use crate::api::{Answer, failure};
use crate::hotplug::{DeviceChange, NewDisk};
use crate::state::Verb;

const NAME: (&str, &str) = ("name", "the name of volume and disk");
const VOLUME: &[(&str, &str)] = &[
    NAME,
    ("disk", "what the guest sees, as in spec.domain.devices.disks"),
    ("volumeSource", "a persistentVolumeClaim or dataVolume"),
    DRY_RUN,
];

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    put(
        subresource!(machine "addvolume"),
        "v1AddVolume",
        "Puts a disk into a free slot.",
        VOLUME,
        add_volume,
    ),
    put(subresource!(vm "addvolume"), "v1vm-AddVolume", "Puts a disk into a free slot.", VOLUME, add_volume),
    put(
        subresource!(machine "removevolume"),
        "v1RemoveVolume",
        "Asks the guest to let a disk go that was added.",
        &[NAME, DRY_RUN],
        remove_volume,
    ),
    put(
        subresource!(vm "removevolume"),
        "v1vm-RemoveVolume",
        "Asks the guest to let a disk go that was added.",
        &[NAME, DRY_RUN],
        remove_volume,
    ),
    put(
        subresource!(machine "resizevolume"),
        "kubevmmResizeVolume",
        "Tells the guest of a disk that has another size on the host now.",
        &[NAME, DRY_RUN],
        |call| named_disk(call, |name| DeviceChange::LookAtDisk { name }),
    ),
    put(
        subresource!(machine "setmemory"),
        "kubevmmSetMemory",
        "Asks the guest to get by on less memory than it was started with, or to take it back.",
        &[("memory", "how much, such as 512Mi"), DRY_RUN],
        set_memory,
    ),
];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeOptions {
    name: String,
    disk: Value,
    volume_source: Value,
    dry_run: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MemoryOptions {
    memory: String,
    dry_run: Vec<String>,
}

fn add_volume(call: &Call<'_>) -> Answer {
    answer(call, || {
        let options: VolumeOptions = call.body()?;
        let disk = new_disk(&options).map_err(|message| failure::bad_request(&message))?;
        Ok((Verb::Device(DeviceChange::AddDisk(Box::new(disk))), options.dry_run))
    })
}

fn remove_volume(call: &Call<'_>) -> Answer {
    named_disk(call, |name| DeviceChange::RemoveDisk { name })
}

fn named_disk(call: &Call<'_>, change: impl FnOnce(String) -> DeviceChange) -> Answer {
    answer(call, || {
        let options: VolumeOptions = call.body()?;
        if options.name.is_empty() {
            return Err(failure::bad_request("the disk's name is missing"));
        }
        Ok((Verb::Device(change(options.name)), options.dry_run))
    })
}

fn set_memory(call: &Call<'_>) -> Answer {
    answer(call, || {
        let options: MemoryOptions = call.body()?;
        let bytes = options.memory.parse::<Quantity>().ok().and_then(|memory| memory.bytes());
        let bytes = bytes.ok_or_else(|| failure::bad_request("memory is to be a quantity, such as 512Mi"))?;
        Ok((Verb::SetMemory { bytes }, options.dry_run))
    })
}

/// Asks for what `read` makes of the request, unless it is only to be tried.
fn answer(call: &Call<'_>, read: impl FnOnce() -> Result<(Verb, Vec<String>), Response>) -> Answer {
    match named(call).and_then(|_| read()) {
        Ok((_, dry_run)) if is_dry(&dry_run) => Answer::Now(Response::empty(200)),
        Ok((verb, _)) => ask(call, verb),
        Err(response) => Answer::Now(response),
    }
}

/// The disk that the options describe. They are read as a manifest that has this disk only, so that the same rules apply.
fn new_disk(options: &VolumeOptions) -> Result<NewDisk, String> {
    let as_object = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (mut disk, mut volume) = (as_object(&options.disk), as_object(&options.volume_source));
    disk.insert("name".into(), json!(options.name));
    volume.insert("name".into(), json!(options.name));
    let manifest = json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "request"},
        "spec": {
            "domain": {"memory": {"guest": "64Mi"}, "devices": {"disks": [disk]}},
            "volumes": [volume],
        },
    });
    let manifests = Manifests::parse("request", &manifest.to_string()).map_err(|errors| {
        errors.first().map_or_else(|| "the request cannot be read".to_owned(), |error| chain(error))
    })?;
    let document = manifests.documents.first().ok_or("the request cannot be read")?;
    let verdict = spec::admit(document, &manifests);
    if let Some(cause) = verdict.causes.first().filter(|_| !verdict.allowed) {
        return Err(format!("{}: {}", cause.path, cause.message));
    }
    let spec = verdict.machine().map(|machine| &machine.spec).ok_or("the request cannot be read")?;
    let (disks, volumes) = (&spec.domain.devices.disks, &spec.volumes);
    let (Some(disk), Some(volume)) = (disks.first(), volumes.first()) else {
        return Err("disk and volumeSource are needed".into());
    };
    if matches!(volume.source, VolumeSource::PersistentVolumeClaim(_) | VolumeSource::DataVolume(_)) {
        Ok(NewDisk { name: options.name.clone(), disk: disk.clone(), source: volume.source.clone() })
    } else {
        Err("volumeSource is to be a persistentVolumeClaim or a dataVolume".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: Value) -> Result<NewDisk, String> {
        new_disk(&serde_json::from_value(options).unwrap())
    }

    #[test]
    fn a_request_is_read_as_a_manifest_is() {
        let claim = json!({"persistentVolumeClaim": {"claimName": "data"}});
        let disk = read(json!({"name": "more", "disk": {"disk": {"bus": "virtio"}}, "volumeSource": claim}));
        assert_eq!(disk.unwrap().name, "more");
        let disk = read(
            json!({"name": "more", "disk": {"serial": "s"}, "volumeSource": {"dataVolume": {"name": "d"}}}),
        );
        assert_eq!(disk.unwrap().disk.serial, "s");
        for (bad, word) in [
            (json!({"name": "more", "disk": {"disk": {"bus": "floppy"}}, "volumeSource": claim}), "bus"),
            (
                json!({"name": "more", "volumeSource": {"emptyDisk": {"capacity": "1Gi"}}}),
                "persistentVolumeClaim",
            ),
            (json!({"name": "more"}), ""),
            (json!({"name": "", "volumeSource": claim}), "name"),
            (json!({"name": "more", "disk": {"nonsense": 1}, "volumeSource": claim}), "nonsense"),
        ] {
            let error = read(bad.clone()).unwrap_err();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }
}
