//! New raw images, by the rules of KubeVirt's handler (pkg/host-disk).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{OpenError, OpenFault, Subject};
use crate::plan::{DevicePlan, DiskPlan, DiskSource, Plan, Storage};
use crate::sys::disk_space::available;

/// Bytes of the file system that stay free (KubeVirt's `minimum-pvc-reserve-bytes`).
const RESERVE: u64 = 128 << 10;
/// By how many hundredths an image may fall short of what was asked (KubeVirt's `pvc-tolerate-less-space-up-to-percent`).
const TOLERATED: u64 = 10;

/// An image that was made for a disk whose contents are yet to come. Unless they do, it goes again.
#[derive(Debug)]
pub struct MadeImage {
    /// Name of its disk.
    pub disk: String,
    /// Where it is.
    pub path: PathBuf,
    is_kept: bool,
}

impl MadeImage {
    /// Makes the images of `plan` that are missing.
    ///
    /// # Errors
    /// The first that cannot be made; those before it are gone again.
    pub fn all(plan: &Plan) -> Result<Vec<Self>, Vec<OpenFault>> {
        let mut made = Vec::new();
        for function in &plan.functions {
            let DevicePlan::Disk(DiskPlan { source: DiskSource::Storage(storage), .. }) = &function.device
            else {
                continue;
            };
            let Storage::RawOrNew { path, capacity } = storage else { continue };
            let is_made = make(path, *capacity).map_err(|source| {
                let (what, path) = (format!("disk {}", function.name), path.clone());
                let error = OpenError::File { what, path, source };
                vec![OpenFault { subject: Subject::Disk(function.name.clone()), error }]
            })?;
            if is_made {
                made.push(Self { disk: function.name.clone(), path: path.clone(), is_kept: false });
            }
        }
        Ok(made)
    }

    /// Its contents have come.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for MadeImage {
    fn drop(&mut self) {
        if !self.is_kept {
            // Nothing has been in it that anybody had.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a sparse image of `capacity` bytes unless there is one, with its folder if need be. Where the file system has a
/// little less room, the image is as large as there is room. Says whether it was made.
pub(super) fn make(path: &Path, capacity: u64) -> io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let size = fitting(capacity, available(folder)?)
        .map_err(|message| io::Error::new(io::ErrorKind::StorageFull, message))?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.set_len(size).map(|()| true).inspect_err(|_| {
            // An empty file would be taken for an image the next time; the first error counts.
            let _ = fs::remove_file(path);
        }),
        // Somebody else was faster, and the image is theirs.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The size that an image gets where so many bytes are free.
fn fitting(wanted: u64, free: u64) -> Result<u64, String> {
    let room = free.saturating_sub(RESERVE);
    if wanted <= room {
        return Ok(wanted);
    }
    let least = u128::from(wanted) * u128::from(100 - TOLERATED) / 100;
    if least > u128::from(room) {
        return Err(format!(
            "a disk of {wanted} bytes does not fit: {room} bytes are free, which is more than {TOLERATED} % too few"
        ));
    }
    // Whole sectors.
    Ok(room / 512 * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_sparse_and_made_only_once() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claim/disk.img");
        assert!(make(&path, 1 << 20).unwrap());
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.len(), meta.blocks()), (1 << 20, 0));
        fs::write(&path, "data").unwrap();
        assert!(!make(&path, 1 << 20).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn a_little_less_room_is_tolerated_and_no_more() {
        assert_eq!(fitting(1000 << 20, 2000 << 20), Ok(1000 << 20));
        assert_eq!(fitting(1000 << 20, (950 << 20) + RESERVE + 17), Ok(950 << 20));
        assert_eq!(fitting(1000 << 20, (900 << 20) + RESERVE), Ok(900 << 20));
        assert!(fitting(1000 << 20, (899 << 20) + RESERVE).unwrap_err().contains("does not fit"));
        assert!(fitting(u64::MAX, 0).is_err());
    }

    #[test]
    fn what_does_not_fit_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        assert_eq!(make(&path, u64::MAX / 2).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!path.exists());
    }
}
