//! Disks of a plan: which file each volume becomes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spec::api::{Disk, DiskCache, DiskDevice, HostDiskType, VirtualMachineInstance, Volume, VolumeSource};
use spec::cloud_init::{self, CloudInitError};
use spec::resolve::{Claim, Resolved};

use super::PlanError;

/// Label of a NoCloud disk.
const NO_CLOUD_LABEL: &str = "cidata";

/// What a disk's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DiskSource {
    /// A raw image or block device of the host.
    File(PathBuf),
    /// A raw image that is made, sparse, if it is missing.
    #[serde(rename_all = "camelCase")]
    FileOrNew {
        /// Where it is.
        path: PathBuf,
        /// Size in bytes of a new one.
        capacity: u64,
    },
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
        /// Files in its root.
        files: Vec<IsoFile>,
    },
}

/// A file of an ISO image.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsoFile {
    /// Name.
    pub name: String,
    /// Contents; they may be secret.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for IsoFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IsoFile").field("name", &self.name).field("bytes", &self.data.len()).finish()
    }
}

/// Host caching of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// Direct I/O where the file allows it, else writethrough: KubeVirt's choice for disks without `cache`.
    Auto,
    /// Direct I/O.
    None,
    /// Each write durable when it completes.
    Writethrough,
    /// The host's page cache.
    Writeback,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskPlan {
    /// What its bytes are.
    pub source: DiskSource,
    /// The guest may not write.
    pub read_only: bool,
    /// Host caching.
    pub cache: Cache,
    /// Other processes may write it as well.
    pub shareable: bool,
    /// Serial number that the guest reads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// Logical and physical block size, if the manifest sets them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<[u32; 2]>,
    /// Number of queues.
    pub queues: u16,
    /// The disk has an I/O thread to itself.
    pub dedicated_io_thread: bool,
    /// Position in the boot order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_order: Option<u64>,
}

/// Everything that the disks of a machine are planned from.
pub(super) struct Context<'a> {
    pub(super) vmi: &'a VirtualMachineInstance,
    pub(super) resolved: &'a Resolved,
    pub(super) queues: u16,
}

impl Context<'_> {
    /// Plans disk number `index` of the manifest.
    pub(super) fn plan(&self, index: usize, disk: &Disk) -> Result<DiskPlan, PlanError> {
        let field = |name: &str| format!("spec.domain.devices.disks[{index}]{name}");
        let (at, volume) = self
            .volume(&disk.name)
            .ok_or_else(|| PlanError::at(field(".name"), "no volume has this name"))?;
        let volume_field = format!("spec.volumes[{at}]");
        let source = self.source(&volume.source, &volume_field)?;
        let read_only = matches!(source, DiskSource::Iso { .. }) || is_read_only(disk, &volume.source);
        Ok(DiskPlan {
            read_only,
            cache: match disk.cache {
                None => Cache::Auto,
                Some(DiskCache::None) => Cache::None,
                Some(DiskCache::WriteThrough) => Cache::Writethrough,
                Some(_) => Cache::Writeback,
            },
            shareable: disk.shareable.unwrap_or(false),
            serial: disk.serial.clone(),
            block_size: custom_block_size(disk)
                .map_err(|message| PlanError::at(field(".blockSize"), message))?,
            queues: self.queues,
            dedicated_io_thread: disk.dedicated_io_thread.unwrap_or(false),
            boot_order: disk.boot_order,
            source,
        })
    }

    fn volume(&self, name: &str) -> Option<(usize, &Volume)> {
        self.vmi.spec.volumes.iter().enumerate().find(|(_, volume)| volume.name == name)
    }

    fn source(&self, source: &VolumeSource, field: &str) -> Result<DiskSource, PlanError> {
        match source {
            VolumeSource::ContainerDisk(disk) => Ok(DiskSource::ContainerDisk {
                image: disk.image.clone(),
                path: Some(disk.path.clone()).filter(|path| !path.is_empty()),
            }),
            VolumeSource::CloudInitNoCloud(source) => {
                let secrets = |name: &str| self.resolved.secrets.get(name).cloned();
                cloud_init::no_cloud(self.vmi, source, &secrets).map(no_cloud).map_err(|error| {
                    let message = devices::chain(&error);
                    match error {
                        CloudInitError::SecretMissing(_) => PlanError::missing(field, message),
                        _ => PlanError::at(field, message),
                    }
                })
            }
            VolumeSource::PersistentVolumeClaim(claim) => self.claim(&claim.claim_name, field),
            VolumeSource::DataVolume(volume) => self.claim(&volume.name, field),
            VolumeSource::HostDisk(disk) => {
                let path = PathBuf::from(&disk.path);
                match (&disk.r#type, disk.capacity.as_ref().and_then(|capacity| capacity.bytes())) {
                    (Some(HostDiskType::DiskOrCreate), Some(capacity)) => {
                        Ok(DiskSource::FileOrNew { path, capacity })
                    }
                    _ => Ok(DiskSource::File(path)),
                }
            }
            VolumeSource::EmptyDisk(disk) => match disk.capacity.bytes() {
                Some(bytes) if bytes > 0 => Ok(DiskSource::Empty(bytes)),
                _ => Err(PlanError::at(field, "an empty disk needs a capacity")),
            },
            other => {
                let kind = other.key().unwrap_or("(none)");
                Err(PlanError::at(field, format!("volumes of type {kind} cannot be used yet")))
            }
        }
    }

    /// The image or device of a claim.
    fn claim(&self, name: &str, field: &str) -> Result<DiskSource, PlanError> {
        match self.resolved.claims.get(name) {
            Some(Claim::File(path) | Claim::Device(path)) => Ok(DiskSource::File(path.clone())),
            None => Err(PlanError::missing(field, format!("the claim {name:?} is not there"))),
        }
    }
}

fn no_cloud(files: cloud_init::NoCloudFiles) -> DiskSource {
    let file = |name: &str, data| IsoFile { name: name.into(), data };
    let mut all = vec![file("meta-data", files.meta_data), file("user-data", files.user_data)];
    all.extend(files.network_config.map(|data| file("network-config", data)));
    DiskSource::Iso { label: NO_CLOUD_LABEL.into(), files: all }
}

fn is_read_only(disk: &Disk, source: &VolumeSource) -> bool {
    let device = match &disk.device {
        DiskDevice::Disk(target) => target.readonly,
        DiskDevice::CdRom(target) => target.readonly.unwrap_or(true),
        _ => false,
    };
    let claim = matches!(source, VolumeSource::PersistentVolumeClaim(claim) if claim.read_only);
    device || claim
}

fn custom_block_size(disk: &Disk) -> Result<Option<[u32; 2]>, String> {
    let Some(custom) = disk.block_size.as_ref().and_then(|size| size.custom.as_ref()) else {
        return Ok(None);
    };
    let size = |value: u64| {
        u32::try_from(value)
            .ok()
            .filter(|value| value.is_power_of_two() && (512..=32 << 10).contains(value))
            .ok_or_else(|| {
                format!("a block of {value} bytes is not possible: use a power of two from 512 to 32768")
            })
    };
    let (logical, physical) = (size(custom.logical)?, size(custom.physical)?);
    if physical < logical {
        return Err("the physical block size must not be smaller than the logical one".into());
    }
    Ok(Some([logical, physical]))
}
