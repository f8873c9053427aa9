//! Telling whether two processes, perhaps on two hosts, have the same file or device.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::buf::Bufs;
use crate::disk::DiskError;
use crate::sys::{self, LockKind};
use crate::target::{Kind, Target};

/// A file or device of the host.
#[derive(Clone, Debug)]
pub struct HostFile(Arc<Target>);

/// When a file was last written to, in nanoseconds since 1970.
pub fn modified(meta: &Metadata) -> i64 {
    meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())
}

/// By what one kernel tells a file or device from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A file.
    File {
        /// Number of the device that it is on.
        device: u64,
        /// Its number there.
        inode: u64,
    },
    /// A block device, by its own number.
    Device(u64),
}

/// Places of signs: between these bytes, where no file reaches.
const SIGNS: (u64, u64) = (1 << 61, 1 << 61);

impl HostFile {
    pub(crate) fn of(target: &Arc<Target>) -> Self {
        Self(Arc::clone(target))
    }

    /// Where it is, as it was named when it was opened.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What it is to this host's kernel.
    ///
    /// # Errors
    /// What the host says.
    pub fn identity(&self) -> io::Result<Identity> {
        let meta = self.0.file.metadata()?;
        Ok(match self.0.kind {
            Kind::Regular => Identity::File { device: meta.dev(), inode: meta.ino() },
            Kind::Device => Identity::Device(meta.rdev()),
        })
    }

    /// How long it is, in bytes.
    ///
    /// # Errors
    /// What the host says.
    pub fn bytes(&self) -> io::Result<u64> {
        match self.0.kind {
            Kind::Regular => Ok(self.0.file.metadata()?.len()),
            Kind::Device => Ok(sys::device_geometry(&self.0.file)?.size),
        }
    }

    /// Fills `buf` from `offset`; both are of whole blocks.
    ///
    /// # Errors
    /// What the host says; or the file is shorter than that.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, &Bufs::borrowing(buf))
    }

    /// When it was last written to, in nanoseconds since 1970; of a device, nothing useful.
    ///
    /// # Errors
    /// What the host says.
    pub fn modified(&self) -> io::Result<i64> {
        self.0.file.metadata().map(|meta| modified(&meta))
    }

    /// Puts a sign into the lock that keeps others from writing the file: it becomes a shared one on a byte that nobody else can
    /// guess, given by `secret`. Still nobody else can lock all of the file to write it. False if there is no such lock.
    ///
    /// # Errors
    /// What the host says.
    pub fn sign(&self, secret: u64) -> Result<bool, DiskError> {
        if self.0.lock != Some(LockKind::Exclusive) {
            return Ok(false);
        }
        let sign = sys::lock_byte(&self.0.file, LockKind::Shared, sign_of(secret));
        sign.map(|()| true).map_err(self.0.error("put a sign into the lock of"))
    }

    /// Takes the sign back.
    ///
    /// # Errors
    /// What the host says; or somebody else holds just that byte.
    pub fn take_sign_back(&self, secret: u64) -> Result<(), DiskError> {
        sys::lock_byte(&self.0.file, LockKind::Exclusive, sign_of(secret))
            .map_err(self.0.error("take a sign out of the lock of"))
    }

    /// Whether another process, wherever it is, has put this sign into its lock: then it has this very file. The file must not be
    /// locked here.
    ///
    /// # Errors
    /// What the host says.
    pub fn sees_sign(&self, secret: u64) -> io::Result<bool> {
        let at = sign_of(secret);
        let locked = |at| sys::is_byte_locked(&self.0.file, at);
        Ok(!locked(at)? && locked(at.saturating_sub(1))? && locked(at.saturating_add(1))?)
    }
}

/// The byte of a sign.
fn sign_of(secret: u64) -> u64 {
    let (first, span) = SIGNS;
    first + secret % (span - 2) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Disk, RawDisk, RawOptions};

    #[test]
    fn a_sign_is_seen_in_the_very_file_only_and_the_lock_holds_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("disk"), folder.path().join("copy"));
        for path in [&path, &copy] {
            std::fs::write(path, [0; 4096]).unwrap();
        }
        let later = RawOptions { lock_later: true, ..RawOptions::default() };
        let ours = RawDisk::open(&path, RawOptions::default()).unwrap();
        let (theirs, other) = (RawDisk::open(&path, later).unwrap(), RawDisk::open(&copy, later).unwrap());
        let locked = RawDisk::open(&copy, RawOptions::default()).unwrap();
        let (here, there) = (ours.host_file().unwrap(), theirs.host_file().unwrap());
        let elsewhere = other.host_file().unwrap();
        assert!(!there.sees_sign(7).unwrap(), "a lock alone is no sign");
        assert!(here.sign(7).unwrap());
        assert!(there.sees_sign(7).unwrap() && !there.sees_sign(8).unwrap());
        assert!(!elsewhere.sees_sign(7).unwrap(), "the copy is locked, too, but not by this sign");
        assert!(matches!(theirs.hold(), Err(DiskError::InUse { .. })));
        here.take_sign_back(7).unwrap();
        assert!(!there.sees_sign(7).unwrap());
        assert!(here.sign(u64::MAX).unwrap() && there.sees_sign(u64::MAX).unwrap());
        ours.let_go().unwrap();
        theirs.hold().unwrap();
        assert_eq!(here.identity().unwrap(), there.identity().unwrap());
        assert_ne!(here.identity().unwrap(), elsewhere.identity().unwrap());
        drop(locked);
        let read_only = RawOptions { read_only: true, ..RawOptions::default() };
        assert!(!RawDisk::open(&copy, read_only).unwrap().host_file().unwrap().sign(1).unwrap());
    }
}
