//! Files without names: nothing is left of them when the process ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::sys::memory::memory_file;

/// Directories for scratch files, best first; without any they are in memory.
const DIRECTORIES: [&str; 2] = ["/var/tmp", "/tmp"];

/// A file without a name, gone when it is closed.
pub(super) fn file() -> io::Result<File> {
    let unnamed = |directory: &&str| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory).ok()
    };
    match DIRECTORIES.iter().find_map(unnamed) {
        Some(file) => Ok(file),
        None => memory_file(c"kubevmm-scratch"),
    }
}

/// By what name this process can open such a file once more, as long as it is open.
pub(super) fn name_of(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
