//! Cases that take minutes, for tasks of their own: `cargo xtask test cloud`, `cargo xtask soak`.

mod cloud;
mod debian;
mod file_load;
mod files;
mod fsck;
mod kill;
mod snapshots;
mod soak;

use crate::case::Case;

/// Label of the disk with what the case of the killed file system needs.
pub const FILES_DISK: &str = "files";
/// On it: an empty ext4 file system with a journal, as a raw image.
pub const FILES_IMAGE: &str = "journaled.raw";
/// On it: Debian's static `e2fsck`.
pub const E2FSCK: &str = "e2fsck";

/// All of them.
pub const CASES: &[Case] = &[
    Case::long("cloud-debian", 60, cloud::debian),
    Case::long("soak-fio", 24 * 60, soak::fio),
    Case::long("soak-snapshots", 120, snapshots::fifty),
    Case::long("soak-kill", 20, kill::kill),
    Case::long("soak-kill-files", 30, files::kill),
];
