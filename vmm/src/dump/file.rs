//! The file, under another name until it is whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that is not whole yet. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    wanted: PathBuf,
    finished: bool,
}

impl Partial {
    /// Makes the file that is to become `wanted`, for its owner alone: memory holds secrets.
    pub(super) fn create(wanted: &Path) -> io::Result<Self> {
        if wanted.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut path = wanted.as_os_str().to_owned();
        path.push(format!(".{}.partial", std::process::id()));
        let path = PathBuf::from(path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path, wanted: wanted.to_owned(), finished: false })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name once the disk has it.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.wanted)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            // Whoever asked is told of the failure already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}
