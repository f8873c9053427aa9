//! What a snapshot says of itself.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::freeze::indication::AGENT;
use crate::agent::UNFREEZE;
use crate::plan::{Plan, Storage};

/// Layout of [`Manifest`] that is written.
pub(super) const VERSION: u32 = 1;

/// `snapshot.json` of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Layout of this struct.
    pub version: u32,
    /// A name that no other snapshot has.
    pub id: String,
    /// The snapshot that this one adds to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// When it was taken, RFC 3339.
    pub created: String,
    /// Version of the program that took it.
    pub program: String,
    /// Kernel of the host where it was taken.
    pub kernel: String,
    /// How long the guest stood still for it, in milliseconds.
    pub pause_ms: u64,
    /// How it was taken, in KubeVirt's words: `Online`, and `GuestAgent` if file systems were frozen, `NoGuestAgent` or `QuiesceFailed`
    /// if not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indications: Vec<String>,
    /// Somebody had frozen the guest's file systems before the snapshot was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_before: Option<FrozenBefore>,
    /// The machine's plan, without the contents of disks made of files.
    pub plan: Plan,
    /// Disks.
    pub disks: Vec<DiskRecord>,
}

impl Manifest {
    /// Whether the guest's file systems are frozen in it.
    pub fn is_frozen(&self) -> bool {
        self.indications.iter().any(|indication| indication == AGENT)
    }

    /// In what time the guest's file systems are to be thawed when its agent is met again: at once if they were frozen for the
    /// snapshot, else when the time is over that they were frozen for. If that is not known, nobody may be left to thaw them.
    pub fn thaw_after(&self) -> Duration {
        match self.frozen_before {
            Some(FrozenBefore { thaws_in_ms: Some(left) }) => Duration::from_millis(left),
            None if self.is_frozen() => Duration::ZERO,
            Some(_) | None => UNFREEZE,
        }
    }
}

/// File systems that were frozen before, for something else than a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrozenBefore {
    /// Milliseconds after which they would have been thawed; none: never, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thaws_in_ms: Option<u64>,
}

/// A snapshot by which another one is completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its [`Manifest::id`].
    pub id: String,
    /// Where it was: absolute, or from the directory that the snapshot is in.
    pub path: PathBuf,
}

/// A disk of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskRecord {
    /// Its name in the plan.
    pub name: String,
    /// Bytes that the guest sees.
    pub bytes: u64,
    /// Where its contents are.
    pub contents: KeptDisk,
    /// The files that they are in, if it was not copied: the image, then what is below it, the nearest first. Former programs wrote none
    /// down, and devices are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

/// A file that holds a part of a disk, and is to be as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// Its place.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its last change in nanoseconds since 1970.
    pub modified: i64,
}

/// Where a disk's contents are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum KeptDisk {
    /// Where they were: the plan names it. The file is to be as it was.
    #[serde(rename_all = "camelCase")]
    InPlace {
        /// Its last change in nanoseconds since 1970, if it is a file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        modified: Option<i64>,
    },
    /// In an image on which nobody writes any more: the machine goes on in an overlay.
    #[serde(rename_all = "camelCase")]
    Below {
        /// The image.
        file: Storage,
        /// Its last change in nanoseconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        modified: Option<i64>,
    },
    /// In the snapshot, as a raw image.
    Copied {
        /// Name of the file.
        file: String,
    },
}

/// Whether `name` is a file's in the same directory, and not hidden.
pub(super) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\0', '\n'])
}
