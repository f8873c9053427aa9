//! Whether two processes have the same file or device.

use std::fs;

use block::{HostFile, Identity};
use serde::{Deserialize, Serialize};

use crate::sys::inotify::is_of_one_host;

/// A file or device as the source has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileNote {
    /// What it is to its kernel.
    pub identity: FileIdentity,
    /// The source's lock on it has a sign.
    pub signed: bool,
    /// Only one host can have it.
    pub local: bool,
}

/// [`Identity`], as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileIdentity {
    /// A file.
    File {
        /// Number of its device.
        device: u64,
        /// Its own number.
        inode: u64,
    },
    /// A block device.
    Device(u64),
}

impl From<Identity> for FileIdentity {
    fn from(identity: Identity) -> Self {
        match identity {
            Identity::File { device, inode } => Self::File { device, inode },
            Identity::Device(number) => Self::Device(number),
        }
    }
}

/// What is below a disk and never written, as the source has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BaseNote {
    /// What it is to its kernel.
    pub identity: FileIdentity,
    /// When it was last written to, in nanoseconds since 1970.
    pub modified: i64,
}

impl BaseNote {
    /// What can be told of a base; nothing if the host does not tell.
    pub fn of(file: &HostFile) -> Option<Self> {
        Some(Self { identity: file.identity().ok()?.into(), modified: file.modified().ok()? })
    }
}

/// By what a running kernel is told from all others; empty if it does not tell.
pub fn host() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Whether it is the same kernel.
pub(super) fn is_same_host(theirs: &str) -> bool {
    !theirs.is_empty() && theirs == host()
}

/// What is known of two files or devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sameness {
    /// They are one.
    Same,
    /// They are one, unless a host is a copy of the other that was made while that ran.
    Likely,
    /// They are two.
    Other,
    /// It cannot be told.
    Unknown,
}

/// Whether a file here can be had by one host only, for certain.
pub(super) fn is_local(file: &HostFile) -> bool {
    matches!(file.identity(), Ok(Identity::File { .. })) && is_of_one_host(file.path())
}

/// What there is to tell two files or devices by.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    /// One kernel has both, by its own word.
    same_host: bool,
    /// They have the same numbers.
    same_numbers: bool,
    /// Both are files.
    are_files: bool,
    /// The source's lock has a sign.
    signed: bool,
    /// That sign is seen here.
    seen: bool,
    /// One of them can be had by one host only.
    local: bool,
}

/// Whether the source's file is the one here.
pub(super) fn compare(theirs: &FileNote, same_host: bool, ours: &HostFile, secret: u64) -> Sameness {
    let Ok(identity) = ours.identity().map(FileIdentity::from) else { return Sameness::Unknown };
    judge(Evidence {
        same_host,
        same_numbers: identity == theirs.identity,
        are_files: matches!(
            (identity, theirs.identity),
            (FileIdentity::File { .. }, FileIdentity::File { .. })
        ),
        signed: theirs.signed,
        seen: theirs.signed && ours.sees_sign(secret).unwrap_or(false),
        local: theirs.local || is_local(ours),
    })
}

/// What follows. Pure.
fn judge(evidence: Evidence) -> Sameness {
    let Evidence { same_host, same_numbers, are_files, signed, seen, local } = evidence;
    if seen {
        return Sameness::Same;
    }
    // By its numbers it is one, if the host is not a copy of another one that was made while that ran, down to what its kernel is told by.
    // A sign would be missing then, as it is of a device by another node, and of a file that has none: what is in it tells.
    let is_denied = are_files && signed;
    if same_host && same_numbers && !is_denied {
        return Sameness::Likely;
    }
    // A file of a file system that one host alone has is seen as what it is by all that have it. With the same numbers it is one of
    // another host that was copied with all its memory, down to what its kernel is told by.
    if are_files && local { Sameness::Other } else { Sameness::Unknown }
}

#[cfg(test)]
mod tests {
    use super::Sameness::{Likely, Other, Same, Unknown};
    use super::*;

    #[test]
    fn only_what_is_certain_is_said_to_be_one_or_two() {
        // One host, same numbers, files, signed, seen, local.
        for (flags, expected, what) in [
            ([true, true, true, true, true, true], Same, "one file"),
            ([true, true, true, false, false, true], Likely, "one file without a lock, as shareable disks"),
            ([true, true, false, true, true, false], Same, "one device by one node"),
            (
                [true, true, false, true, false, false],
                Likely,
                "one device by two nodes, or one of a copied host",
            ),
            ([true, true, false, false, false, false], Likely, "one device without a lock"),
            (
                [true, true, true, true, false, false],
                Unknown,
                "one file by its numbers, whose sign is missing",
            ),
            ([true, false, true, true, false, true], Other, "two files of one host"),
            ([true, false, true, false, false, true], Other, "two files of one host, without a lock"),
            ([true, true, true, true, false, true], Other, "two hosts, one of them copied while it ran"),
            ([false, true, true, true, false, true], Other, "two hosts with a file of the same numbers"),
            ([false, false, true, true, true, false], Same, "one file by NFS on two hosts"),
            ([true, false, true, true, true, false], Same, "one file by two mounts of NFS on one host"),
            ([false, false, true, true, false, false], Unknown, "a file system that passes no locks on"),
            ([false, false, true, false, false, false], Unknown, "no lock"),
            ([true, false, true, true, false, false], Unknown, "two mounts that may lead to one server"),
            ([false, false, false, true, false, false], Unknown, "devices of two hosts"),
            ([true, false, false, true, false, false], Unknown, "two devices, perhaps two ways to one"),
            ([true, false, false, true, false, true], Unknown, "a device and a file, perhaps below it"),
        ] {
            let [same_host, same_numbers, are_files, signed, seen, local] = flags;
            let evidence = Evidence { same_host, same_numbers, are_files, signed, seen, local };
            assert_eq!(judge(evidence), expected, "{what}");
        }
    }
}
