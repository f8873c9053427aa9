//! The system call that the standard library has only for sockets.
#![expect(unsafe_code, reason = "the standard library makes only sockets non-blocking")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Makes reads and writes return instead of waiting.
pub(super) fn set_nonblocking(file: &File) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: no pointers are passed.
    if flags < 0 || unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
