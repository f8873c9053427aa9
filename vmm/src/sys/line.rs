//! What the kernel tells in one line.

use std::fs;
use std::path::Path;

/// The line in the file at `path`; empty if it cannot be read.
pub fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}

/// A UUID that nobody else has.
pub fn random_uuid() -> String {
    read("/proc/sys/kernel/random/uuid")
}
