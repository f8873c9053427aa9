//! What the bytes of a disk are: which file each volume becomes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spec::api::{HostDisk, HostDiskType, VirtualMachineInstance, Volume, VolumeSource};
use spec::cloud_init::TaggedDevice;
use spec::file_disk::{self, FileDisk};
use spec::resolve::{Claim, Resolved};

use super::PlanError;

/// What a disk's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DiskSource {
    /// Storage of the host.
    Storage(Storage),
    /// Storage of the host that is only read, under a scratch overlay that is gone with the VM.
    Ephemeral(Storage),
    /// An empty scratch file of this many bytes, gone with the VM.
    Empty(u64),
    /// The disk in a container image, under a scratch overlay.
    ContainerDisk {
        /// Reference, as in the manifest.
        image: String,
        /// File inside; the only one in `/disk` if there is none.
        path: Option<String>,
    },
    /// An ISO 9660 image made of these files.
    Iso {
        /// Volume label.
        label: String,
        /// Its files.
        files: Vec<IsoFile>,
    },
}

/// Storage of the host, and the format of what is in it, which is settled by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Storage {
    /// A raw image.
    Raw(PathBuf),
    /// A qcow2 image; below it may be others of its folder, whose names say so.
    Qcow2(PathBuf),
    /// A block device.
    Device(PathBuf),
    /// A raw image that is made, sparse, if it is missing.
    #[serde(rename_all = "camelCase")]
    RawOrNew {
        /// Where it is.
        path: PathBuf,
        /// Size in bytes of a new one.
        capacity: u64,
    },
}

/// A file of an ISO image.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsoFile {
    /// Its path.
    pub name: String,
    /// Contents; they may be secret. In text they are base64.
    #[serde(with = "base64")]
    pub data: Vec<u8>,
}

mod base64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&spec::base64::encode(data))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        spec::base64::decode(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl std::fmt::Debug for IsoFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IsoFile").field("name", &self.name).field("bytes", &self.data.len()).finish()
    }
}

/// Plans what `volume` of `vmi`, described at `field`, is made of. `devices` are those that a config drive tells of.
pub(super) fn plan(
    vmi: &VirtualMachineInstance,
    volume: &Volume,
    field: &str,
    resolved: &Resolved,
    devices: &[TaggedDevice],
) -> Result<DiskSource, PlanError> {
    let claimed = |name| claim(resolved, name, field);
    match &volume.source {
        VolumeSource::ContainerDisk(disk) => Ok(DiskSource::ContainerDisk {
            image: disk.image.clone(),
            path: Some(disk.path.clone()).filter(|path| !path.is_empty()),
        }),
        VolumeSource::PersistentVolumeClaim(claim) => claimed(&claim.claim_name).map(DiskSource::Storage),
        VolumeSource::DataVolume(volume) => claimed(&volume.name).map(DiskSource::Storage),
        VolumeSource::Ephemeral(source) => match &source.persistent_volume_claim {
            None => Err(PlanError::at(field, "an ephemeral volume needs a persistentVolumeClaim")),
            Some(claim) => match claimed(&claim.claim_name)? {
                Storage::RawOrNew { path, .. } => Err(PlanError::missing(
                    field,
                    format!("the claim {:?} is empty: put {} there", claim.claim_name, path.display()),
                )),
                storage => Ok(DiskSource::Ephemeral(storage)),
            },
        },
        VolumeSource::HostDisk(disk) => Ok(DiskSource::Storage(host_disk(disk))),
        VolumeSource::EmptyDisk(disk) => match disk.capacity.bytes() {
            Some(bytes) if bytes >= MIB => Ok(DiskSource::Empty(bytes / MIB * MIB)),
            _ => Err(PlanError::at(field, "an empty disk needs a capacity of at least 1Mi")),
        },
        other => match file_disk::of(vmi, volume, resolved, devices) {
            Some(Ok(disk)) => iso(disk, field),
            Some(Err(error)) => {
                let message = devices::chain(&error);
                let missing = error.is_missing();
                Err(if missing { PlanError::missing(field, message) } else { PlanError::at(field, message) })
            }
            None => {
                let kind = other.key().unwrap_or("(none)");
                Err(PlanError::at(field, format!("volumes of type {kind} cannot be used as disks")))
            }
        },
    }
}

/// KubeVirt makes empty disks of whole mebibytes.
const MIB: u64 = 1 << 20;

fn host_disk(disk: &HostDisk) -> Storage {
    let path = PathBuf::from(&disk.path);
    let capacity = disk.capacity.as_ref().and_then(|capacity| capacity.bytes());
    match (&disk.r#type, capacity) {
        (Some(HostDiskType::DiskOrCreate), Some(capacity)) => Storage::RawOrNew { path, capacity },
        _ => Storage::Raw(path),
    }
}

/// The image or device of a claim.
fn claim(resolved: &Resolved, name: &str, field: &str) -> Result<Storage, PlanError> {
    Ok(match resolved.claims.get(name) {
        Some(Claim::File(path)) => Storage::Raw(path.clone()),
        Some(Claim::Qcow2(path)) => Storage::Qcow2(path.clone()),
        Some(Claim::Device(path)) => Storage::Device(path.clone()),
        Some(Claim::New { image, bytes }) => Storage::RawOrNew { path: image.clone(), capacity: *bytes },
        None => return Err(PlanError::missing(field, format!("the claim {name:?} is not there"))),
    })
}

/// An image of these files, if they make one.
fn iso(disk: FileDisk, field: &str) -> Result<DiskSource, PlanError> {
    let files = disk.files.into_iter().map(|(name, data)| IsoFile { name, data }).collect::<Vec<_>>();
    let all: Vec<_> = files.iter().map(IsoFile::for_image).collect();
    image::iso9660::check(&disk.label, &all).map_err(|error| PlanError::at(field, devices::chain(&error)))?;
    Ok(DiskSource::Iso { label: disk.label, files })
}

impl IsoFile {
    /// The same, as the writer of images takes it.
    pub(crate) fn for_image(&self) -> image::iso9660::IsoFile<'_> {
        image::iso9660::IsoFile { path: &self.name, contents: &self.data }
    }
}
