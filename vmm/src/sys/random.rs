//! Random bytes of the host.

use std::fs::File;
use std::io::{self, Read};

/// Fills `bytes`.
///
/// # Errors
/// The host has none.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}
