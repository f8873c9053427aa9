//! A directory as an image's root file system.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::ImageError;
use crate::names::{Kind, Names, container_disk, resolve};

struct Root<'a>(&'a Path);

impl Names for Root<'_> {
    fn kind(&self, path: &str) -> Option<Kind> {
        let full = self.0.join(path);
        let kind = fs::symlink_metadata(&full).ok()?.file_type();
        Some(if kind.is_dir() {
            Kind::Directory
        } else if kind.is_file() {
            Kind::File
        } else if kind.is_symlink() {
            Kind::Symlink(fs::read_link(&full).ok()?.into_os_string().into_string().ok()?)
        } else {
            Kind::Other
        })
    }

    fn list(&self, path: &str, max: usize) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join(path)) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).take(max).collect()
    }
}

/// A regular file beneath `dir`.
pub(crate) fn file(dir: &Path, path: &str) -> Result<PathBuf, ImageError> {
    let missing = |reason| ImageError::NoSuchFile {
        image: format!("rootfs:{}", dir.display()),
        path: path.to_owned(),
        reason,
    };
    match resolve(&Root(dir), path).map_err(missing)? {
        (path, Kind::File) => Ok(dir.join(path)),
        _ => Err(missing("it is not a regular file")),
    }
}

/// The container disk beneath `dir`.
pub(crate) fn disk(dir: &Path) -> Result<PathBuf, ImageError> {
    let not = |reason| ImageError::NotADisk { image: format!("rootfs:{}", dir.display()), reason };
    container_disk(&Root(dir)).map(|path| dir.join(path)).map_err(not)
}
