//! Read-only images as raw files, so that what lies over them needs to know no format.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ConvertOptions, CreateOptions, Format, OpenOptions, convert, failed, open};
use crate::disk::DiskError;

/// The file to use for an image that no guest has ever been able to write, such as a container
/// disk's: the image itself if it is raw; if it is qcow2, a raw copy at `copy`, which is made the
/// first time. One that has a backing file, or anything else outside of it, is refused.
///
/// # Errors
/// When the image cannot be read, or the copy not be made.
pub fn unpacked(path: &Path, copy: &Path) -> Result<PathBuf, DiskError> {
    if Format::detect(path)? == Format::Raw {
        return Ok(path.to_owned());
    }
    if copy.is_file() {
        return Ok(copy.to_owned());
    }
    let source = open(path, Format::Qcow2, &OpenOptions { read_only: true, ..OpenOptions::default() })?;
    if let Some(folder) = copy.parent() {
        fs::create_dir_all(folder).map_err(failed("make the folder of", copy))?;
    }
    let mut partial = copy.as_os_str().to_owned();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let size = source.disk().info().size_bytes;
    let create = CreateOptions { overwrite: true, ..CreateOptions::new(Format::Raw, size) };
    let made = convert((path, &source), &partial, &ConvertOptions::new(create), &|_| {})
        .and_then(|()| fs::rename(&partial, copy).map_err(failed("rename into place", copy)));
    if made.is_err() {
        // It may be gone already; the first error counts.
        let _ = fs::remove_file(&partial);
    }
    made.map(|()| copy.to_owned())
}
