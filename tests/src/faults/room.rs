//! Small file systems, which are soon full.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use guest::sys;

use crate::failure::{Doing, Failure};

/// A small file system of its own.
#[derive(Debug)]
pub(super) struct Room(PathBuf);

impl Room {
    /// One of so many bytes at `path`.
    pub(super) fn make(path: &Path, bytes: u64) -> Result<Self, Failure> {
        std::fs::create_dir_all(path)?;
        sys::mount_memory(path, bytes).doing("mounting a small file system")?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // The machine's processes may be there yet.
        let _ = sys::unmount(&self.0);
    }
}

/// Takes all the room there is in the file system of a folder, but for so many bytes.
pub(super) fn fill(folder: &Path, but: u64) -> io::Result<()> {
    let mut file = File::create(folder.join("full"))?;
    for piece in [1 << 20, 4096] {
        while let Ok(()) = file.write_all(&vec![1; piece]) {}
    }
    let taken = file.metadata()?.len();
    file.set_len(taken.saturating_sub(but))
}
