//! What the two sides tell each other of disks.

use devices::pci::PciAddress;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BaseNote, FileNote};
use crate::plan::DiskSource;

/// The source's disks, and by what the destination can know them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Devices {
    /// The kernel that the source runs on ([`host`](super::host)).
    pub host: String,
    /// What signs in locks are made of, for as long as the destination has not answered.
    pub secret: u64,
    /// Devices that came while the machine ran, in the order in which it has them.
    #[serde(default)]
    pub added: Vec<Added>,
    /// Its disks.
    pub disks: Vec<DiskNote>,
}

/// A device that came while the machine ran. The manifests do not know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Added {
    /// Its name.
    pub name: String,
    /// The slot that it is in.
    pub address: PciAddress,
    /// What has to be the same about it ([`fact`](crate::migration::facts::fact)).
    pub fact: String,
    /// What it is.
    pub device: AddedDevice,
}

/// Such a device, as the machine's object has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AddedDevice {
    /// A disk.
    Disk {
        /// Its part of `spec.domain.devices.disks`.
        disk: Value,
        /// Its part of `spec.volumes`.
        volume: Value,
    },
    /// A network card.
    Card {
        /// Its part of `spec.domain.devices.interfaces`.
        interface: Value,
        /// Its part of `spec.networks`.
        network: Value,
    },
}

/// A disk of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskNote {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The guest cannot write to it.
    pub read_only: bool,
    /// What it is made of.
    pub kind: DiskKind,
    /// What the source would like to have done.
    pub wish: Wish,
    /// Where its bytes are.
    pub file: Option<FileNote>,
    /// What is below it.
    pub bases: Vec<BaseNote>,
    /// By what that is told from all others on any host, if it is.
    #[serde(default)]
    pub content: Option<String>,
}

/// What a disk is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DiskKind {
    /// Storage that outlives the machine.
    Storage,
    /// A scratch file that is gone with its process, over something that is only read, perhaps.
    Scratch,
    /// A small image that was made for the machine.
    Files,
}

impl DiskKind {
    /// What a planned disk is made of.
    pub fn of(source: &DiskSource) -> Self {
        match source {
            DiskSource::Storage(_) => Self::Storage,
            DiskSource::Ephemeral(_) | DiskSource::Empty(_) | DiskSource::ContainerDisk { .. } => {
                Self::Scratch
            }
            DiskSource::Iso { .. } => Self::Files,
        }
    }
}

/// What the source would like to have done about a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wish {
    /// Both sides have it.
    Share,
    /// It is to be copied unless both sides have it.
    CopyOthers,
    /// It is to be copied: somebody vouches for that the destination's is another one.
    Copy,
}

/// What is to become of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The disk's name.
    pub name: String,
    /// What is to become of it.
    pub verdict: Verdict,
}

/// What is to become of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Both sides have it; nothing is sent.
    Shared,
    /// Both sides seem to have it; the source sends some blocks of it when the guest stands still.
    Compare,
    /// The source sends all of it.
    Copy,
    /// The source sends what is not in the disk's base, which both sides have.
    CopyDifferences,
}
