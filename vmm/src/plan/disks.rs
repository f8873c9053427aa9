//! Disks of a plan: how each one is opened, and what the guest sees of it.

use serde::{Deserialize, Serialize};
use spec::api::{
    BlockSize, Disk, DiskCache, DiskDevice, DiskIo, ErrorPolicy, VirtualMachineInstance, Volume, VolumeSource,
};
use spec::cloud_init::TaggedDevice;
use spec::resolve::Resolved;

use super::disk_source::{self, DiskSource};
use super::limits::DiskLimit;
use super::{DevicePlan, Function, PlanError};

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

/// How the host does a disk's I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// As the host does it best.
    #[default]
    Auto,
    /// By the kernel's asynchronous I/O.
    Native,
    /// By threads.
    Threads,
}

/// What happens to the guest when the host cannot read or write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The VM is paused.
    #[default]
    Stop,
    /// The guest is told.
    Report,
    /// The guest is told nothing.
    Ignore,
    /// The VM is paused when space runs out, else the guest is told.
    Enospace,
}

/// Sizes of a disk's blocks in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Blocks {
    /// Those that the storage needs, 512 where it has no wish.
    #[default]
    Smallest,
    /// Those that the storage likes best.
    Volume,
    /// These; powers of two.
    #[serde(rename_all = "camelCase")]
    Custom {
        /// Smallest unit of I/O.
        logical: u32,
        /// Unit that performs best.
        physical: u32,
        /// Smallest unit that can be discarded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        discard_granularity: Option<u32>,
    },
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
    /// How I/O is done.
    #[serde(default)]
    pub io: Io,
    /// What happens when it fails.
    #[serde(default)]
    pub on_error: OnError,
    /// Other processes may write it as well.
    pub shareable: bool,
    /// Serial number that the guest reads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// Sizes of its blocks.
    #[serde(default)]
    pub blocks: Blocks,
    /// Number of queues.
    pub queues: u16,
    /// The disk has an I/O thread to itself.
    pub dedicated_io_thread: bool,
    /// Position in the boot order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_order: Option<u64>,
    /// The manifest's word for the disk, which a config drive tells the guest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// How fast the guest may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<DiskLimit>,
}

/// Everything that the disks of a machine are planned from.
pub(super) struct Context<'a> {
    pub(super) vmi: &'a VirtualMachineInstance,
    pub(super) resolved: &'a Resolved,
    pub(super) queues: u16,
    pub(super) limits: &'a [(String, DiskLimit)],
}

impl Context<'_> {
    /// Plans disk number `index` of the manifest.
    pub(super) fn plan(&self, index: usize, disk: &Disk) -> Result<DiskPlan, PlanError> {
        let field = |name: &str| format!("spec.domain.devices.disks[{index}]{name}");
        let (at, volume) = self
            .volume(&disk.name)
            .ok_or_else(|| PlanError::at(field(".name"), "no volume has this name"))?;
        let source = self.source(at, volume, &[])?;
        let read_only = matches!(source, DiskSource::Iso { .. }) || is_read_only(disk, &volume.source);
        let host_shares =
            matches!(&volume.source, VolumeSource::HostDisk(disk) if disk.shared.unwrap_or(false));
        Ok(DiskPlan {
            source,
            read_only,
            cache: match disk.cache {
                None => Cache::Auto,
                Some(DiskCache::None) => Cache::None,
                Some(DiskCache::WriteThrough) => Cache::Writethrough,
                Some(_) => Cache::Writeback,
            },
            io: match disk.io {
                Some(DiskIo::Native) => Io::Native,
                Some(DiskIo::Threads) => Io::Threads,
                _ => Io::Auto,
            },
            on_error: match disk.error_policy {
                Some(ErrorPolicy::Report) => OnError::Report,
                Some(ErrorPolicy::Ignore) => OnError::Ignore,
                Some(ErrorPolicy::Enospace) => OnError::Enospace,
                _ => OnError::Stop,
            },
            shareable: disk.shareable.unwrap_or(false) || host_shares,
            serial: disk.serial.clone(),
            blocks: blocks(disk.block_size.as_ref())
                .map_err(|message| PlanError::at(field(".blockSize"), message))?,
            queues: self.queues,
            dedicated_io_thread: disk.dedicated_io_thread.unwrap_or(false),
            boot_order: disk.boot_order,
            tag: disk.tag.clone(),
            limit: self.limits.iter().rfind(|(name, _)| *name == disk.name).map(|(_, limit)| *limit),
        })
    }

    /// A limit for a disk that is not there.
    pub(super) fn unknown_limit(&self) -> Option<PlanError> {
        let disks = &self.vmi.spec.domain.devices.disks;
        let unknown = |name: &str| disks.iter().all(|disk| disk.name != name);
        let (name, _) = self.limits.iter().find(|(name, _)| unknown(name))?;
        let message = format!("--disk-limit names a disk {name:?} that the manifest does not have");
        Some(PlanError::at("spec.domain.devices.disks", message))
    }

    fn volume(&self, name: &str) -> Option<(usize, &Volume)> {
        self.vmi.spec.volumes.iter().enumerate().find(|(_, volume)| volume.name == name)
    }

    fn source(&self, at: usize, volume: &Volume, devices: &[TaggedDevice]) -> Result<DiskSource, PlanError> {
        disk_source::plan(self.vmi, volume, &format!("spec.volumes[{at}]"), self.resolved, devices)
    }

    /// Makes config drives anew that tell of devices with tags, now that all devices have their places.
    pub(super) fn tell_of_tags(&self, functions: &mut [Function]) -> Result<(), PlanError> {
        let tagged: Vec<_> = functions.iter().filter_map(|function| self.tagged(function)).collect();
        if tagged.is_empty() {
            return Ok(());
        }
        for function in functions {
            let DevicePlan::Disk(disk) = &mut function.device else { continue };
            if let Some((at, volume)) = self.volume(&function.name)
                && matches!(volume.source, VolumeSource::CloudInitConfigDrive(_))
            {
                disk.source = self.source(at, volume, &tagged)?;
            }
        }
        Ok(())
    }

    /// A device with a tag, as the guest is told of it.
    fn tagged(&self, function: &Function) -> Option<TaggedDevice> {
        let (kind, mac, serial, tag) = match &function.device {
            DevicePlan::Disk(disk) => ("disk", None, disk.serial.clone(), disk.tag.clone()),
            DevicePlan::Nic(nic) => {
                let cards = &self.vmi.spec.domain.devices.interfaces;
                let card = cards.iter().find(|card| card.name == function.name)?;
                ("nic", Some(nic.mac.to_string()), String::new(), card.tag.clone())
            }
            _ => return None,
        };
        let address = format!("0000:{}", function.address);
        (!tag.is_empty()).then_some(TaggedDevice { kind, bus: "pci", address, mac, serial, tags: [tag] })
    }
}

fn is_read_only(disk: &Disk, source: &VolumeSource) -> bool {
    let device = match &disk.device {
        DiskDevice::Disk(target) => target.readonly,
        DiskDevice::Lun(target) => target.readonly,
        DiskDevice::CdRom(target) => target.readonly.unwrap_or(true),
        _ => false,
    };
    let claim = matches!(source, VolumeSource::PersistentVolumeClaim(claim) if claim.read_only);
    device || claim
}

fn blocks(size: Option<&BlockSize>) -> Result<Blocks, String> {
    let Some(size) = size else { return Ok(Blocks::Smallest) };
    let Some(custom) = &size.custom else {
        let matches = size.match_volume.as_ref().is_some_and(|state| state.enabled.unwrap_or(true));
        return Ok(if matches { Blocks::Volume } else { Blocks::Smallest });
    };
    let power = |value: u64, most: u32| {
        u32::try_from(value)
            .ok()
            .filter(|value| value.is_power_of_two() && (512..=most).contains(value))
            .ok_or_else(|| {
                format!("a block of {value} bytes is not possible: use a power of two from 512 to {most}")
            })
    };
    let (logical, physical) = (power(custom.logical, MOST_BLOCK)?, power(custom.physical, MOST_BLOCK)?);
    if physical < logical {
        return Err("the physical block size must not be smaller than the logical one".into());
    }
    let granularity = custom.discard_granularity.filter(|granularity| *granularity > 0);
    let discard_granularity = granularity.map(|value| power(value, MOST_GRANULARITY)).transpose()?;
    Ok(Blocks::Custom { logical, physical, discard_granularity })
}

/// Largest block whose number of sectors fits virtio-blk's fields.
const MOST_BLOCK: u32 = 32 << 10;
/// Largest unit of discarding.
const MOST_GRANULARITY: u32 = 1 << 30;

#[cfg(test)]
#[path = "disks_tests.rs"]
mod tests;
