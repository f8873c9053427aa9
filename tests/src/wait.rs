//! Waiting for what becomes true by and by.

use std::thread;
use std::time::{Duration, Instant};

use crate::ensure;
use crate::failure::{Failure, Outcome};

/// How long things may take that take a moment. Nothing that works comes near it, on a slow machine with other work beside it, either.
pub const SOON: Duration = Duration::from_secs(180);

/// Waits until `done`, which is looked at again and again.
///
/// # Errors
/// If it is not within [`SOON`], or cannot be told.
pub fn until(what: &str, mut done: impl FnMut() -> Result<bool, Failure>) -> Outcome {
    let end = Instant::now() + SOON;
    while !done()? {
        ensure!(Instant::now() < end, "{what} did not come");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
