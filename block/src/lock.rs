//! One writer, or many readers, across processes.

use std::fs::File;
use std::path::Path;

use crate::disk::DiskError;
use crate::sys::{LockKind, try_lock};

/// Locks an image for as long as the open file description lives: exclusively to write it, shared
/// to read it. The whole file is locked, which also keeps QEMU (it locks single bytes) away from
/// an image that is being written.
pub(crate) fn lock(file: &File, path: &Path, read_only: bool) -> Result<(), DiskError> {
    let kind = if read_only { LockKind::Shared } else { LockKind::Exclusive };
    match try_lock(file, kind) {
        Ok(true) => Ok(()),
        Ok(false) => Err(DiskError::InUse { path: path.to_owned() }),
        Err(source) => Err(DiskError::Io { doing: "lock", path: path.to_owned(), source }),
    }
}
