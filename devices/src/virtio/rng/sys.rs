//! The system call behind the random numbers.
#![expect(unsafe_code, reason = "the standard library has no way to ask the kernel for random numbers")]

use std::io;

/// Fills the start of `buffer`; returns how many bytes. Never waits once the host has booted.
pub(super) fn random(buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a live, writable slice.
    let filled = unsafe { libc::getrandom(buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(filled).map_err(|_| io::Error::last_os_error())
}
