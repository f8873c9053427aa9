//! Snapshots: a machine as a directory, and machines made of it.
//!
//! `docs/snapshots.md` describes the format. A snapshot is written under another name, made durable, and renamed; reading one
//! believes nothing in it before its checksums and its ranges were checked.

mod copy;
mod crc;
mod directory;
mod disks;
mod error;
mod fetch;
mod freeze;
#[cfg(test)]
mod golden_tests;
mod identity;
mod index;
mod inspect;
mod layers;
mod layout;
mod leftovers;
mod manifest;
mod memory;
mod overlay;
mod paths;
mod restore;
mod saved;
mod server;
mod shelf;
mod stream;
mod sums;
mod take;
#[cfg(test)]
mod tests;
mod tracking;
mod verify;
mod working_set;

pub use directory::Snapshot;
pub use error::SnapshotError;
pub use freeze::Freezing;
pub use inspect::{check, describe};
pub use manifest::{DiskRecord, FrozenBefore, KeptDisk, Layer, Manifest};
pub use restore::{Fetched, FetchedFiles, MemoryChoice, RestoreOptions, Restored, restore};
pub use server::{Totals, serve};
pub use stream::{OpenFiles, unpack};
pub use take::{Disks, Taken, Wish, take};
pub use tracking::Tracking;
pub use verify::{CheckThread, Checking, Unchecked};
