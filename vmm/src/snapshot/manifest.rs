//! What a snapshot says of itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

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
    /// The machine's plan, without the contents of disks made of files.
    pub plan: Plan,
    /// Disks.
    pub disks: Vec<DiskRecord>,
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
