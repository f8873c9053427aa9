//! One writer, or many readers, across processes.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::disk::DiskError;
use crate::sys::{LockKind, try_lock};

const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Locks an image for as long as the open file description lives, or until it is unlocked: exclusively to write it, shared
/// to read it. The whole file is locked, which also keeps QEMU (it locks single bytes) away from
/// an image that is being written.
pub(crate) fn lock(file: &File, path: &Path, kind: LockKind) -> Result<(), DiskError> {
    for _ in 0..TRIES {
        match try_lock(file, kind) {
            Ok(true) => return Ok(()),
            // A process that has just ended, or forked and not yet executed, lets go in a moment.
            Ok(false) => std::thread::sleep(PAUSE),
            Err(source) => return Err(DiskError::Io { doing: "lock", path: path.to_owned(), source }),
        }
    }
    Err(DiskError::InUse { path: path.to_owned() })
}
