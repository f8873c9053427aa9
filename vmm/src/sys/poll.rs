//! Asking a descriptor whether it would block.
#![expect(unsafe_code, reason = "poll has no safe wrapper in our dependencies")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Whether a write to `fd` would go through at once, if only in part.
pub fn is_writable(fd: &impl AsFd) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: `poll` is one valid pollfd, and the call returns at once.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0
}

/// Waits until `fd` can be read, for as long as it takes.
///
/// # Errors
/// Nothing of this kind can be waited for.
pub fn wait_until_readable(fd: &impl AsFd) -> io::Result<()> {
    let mut poll = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: `poll` is one valid pollfd.
        if unsafe { libc::poll(&raw mut poll, 1, -1) } >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
