//! Subresources about the machine's memory and disks (KubeVirt: `pkg/virt-api/rest/volumes.go`; the last three are ours).

use serde::Deserialize;
use serde_json::Value;
use spec::api::Quantity;

use super::operate::{DRY_RUN, answer, put, subresource};
use crate::api::router::{Call, Route};
use crate::api::{Answer, failure};
use crate::hotplug::{DeviceChange, NewDisk, read};
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

/// The disk that the options describe.
fn new_disk(options: &VolumeOptions) -> Result<NewDisk, String> {
    read::disk(&options.name, &options.disk, &options.volume_source)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
