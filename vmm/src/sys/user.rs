//! Who this process is.
#![expect(unsafe_code, reason = "the effective user has no safe call in our dependencies")]

/// Number of the user whose rights the process has.
pub fn effective() -> u32 {
    // SAFETY: the call has no arguments and cannot fail.
    unsafe { libc::geteuid() }
}
