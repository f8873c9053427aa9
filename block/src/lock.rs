//! One writer, or many readers, across processes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
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

/// A process's claim on a block device.
#[derive(Debug, Default)]
pub(crate) enum Claim {
    /// None was asked for, or it was given up.
    #[default]
    None,
    /// It lasts until this is closed.
    Had { _device: File },
    /// The process may not have one.
    NotGiven,
}

/// Claims a block device for whoever writes it: nobody else on this host can do so, nor mount it, as long as what is given back is open.
/// Readers do not ask for it, and are not kept away by it.
/// The lock alone does not keep others away: it is on the node by which the device was opened, and each container has nodes of its own.
/// Without the right to open the device once more, or without `/proc`, whoever has opened it answers for that.
pub(crate) fn claim(device: &File, path: &Path) -> Result<Claim, DiskError> {
    let node = PathBuf::from(format!("/proc/self/fd/{}", device.as_raw_fd()));
    let mut how = OpenOptions::new();
    how.read(true).custom_flags(libc::O_EXCL | libc::O_NONBLOCK);
    for _ in 0..TRIES {
        match claimed(how.open(&node)) {
            Ok(Some(claim)) => return Ok(claim),
            Ok(None) => std::thread::sleep(PAUSE),
            Err(source) => return Err(DiskError::Io { doing: "claim", path: path.to_owned(), source }),
        }
    }
    Err(DiskError::InUse { path: path.to_owned() })
}

/// What comes of opening a device exclusively; nothing while somebody else has it.
fn claimed(opened: io::Result<File>) -> io::Result<Option<Claim>> {
    match opened {
        Ok(device) => Ok(Some(Claim::Had { _device: device })),
        Err(error) => match error.kind() {
            io::ErrorKind::ResourceBusy => Ok(None),
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => Ok(Some(Claim::NotGiven)),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_claim_a_device_is_told_from_who_has_to_wait() {
        let failed = |code| claimed(Err(io::Error::from_raw_os_error(code)));
        for code in [libc::EACCES, libc::EPERM, libc::ENOENT] {
            assert!(matches!(failed(code), Ok(Some(Claim::NotGiven))), "{code}");
        }
        assert!(matches!(failed(libc::EBUSY), Ok(None)));
        assert!(failed(libc::EIO).is_err());
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(claim(&file, Path::new("x")), Ok(Claim::Had { .. })));
    }
}
