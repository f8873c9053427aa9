//! Snapshots: a machine as a directory, and machines made of it.
//!
//! `docs/snapshots.md` describes the format. A snapshot is written under another name, made durable, and renamed; reading one
//! believes nothing in it before its checksums and its ranges were checked.

mod copy;
mod directory;
mod disks;
mod error;
mod index;
mod inspect;
mod layout;
mod manifest;
mod memory;
mod paths;
mod restore;
mod sums;
mod take;
#[cfg(test)]
mod tests;
mod tracking;

pub use directory::Snapshot;
pub use error::SnapshotError;
pub use inspect::{check, describe};
pub use manifest::{DiskRecord, KeptDisk, Manifest};
pub use restore::{RestoreOptions, Restored, restore};
pub use take::{Taken, Wish, take};
pub use tracking::Tracking;
