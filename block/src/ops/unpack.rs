//! Read-only images as raw files, so that what lies over them needs to know no format.

use std::fs;
use std::io;
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
    let create = ConvertOptions::new(CreateOptions::new(Format::Raw, source.disk().info().size_bytes));
    for number in 0..MAX_PARTIAL {
        let partial = partial(copy, number);
        let made = convert((path, &source), &partial, &create, &|_| {})
            .and_then(|()| fs::rename(&partial, copy).map_err(failed("rename into place", copy)));
        match made {
            Ok(()) => return Ok(copy.to_owned()),
            Err(DiskError::Open { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                // It may be gone already; the first error counts.
                let _ = fs::remove_file(&partial);
                return Err(error);
            }
        }
    }
    Err(failed("make an unfinished file beside", copy)(io::ErrorKind::AlreadyExists.into()))
}

/// Most unfinished copies that are passed over.
const MAX_PARTIAL: u32 = 1000;

/// A name for a copy that is not finished. The number of a process does not make it unique: all launchers in pods are
/// number 1 of theirs, and share a cache, perhaps with what one of them left when it was killed.
fn partial(copy: &Path, number: u32) -> PathBuf {
    let mut name = copy.as_os_str().to_owned();
    name.push(format!(".partial-{}-{number}", std::process::id()));
    name.into()
}
