//! Time and chance.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::SystemTime;

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A number that nobody foresees.
pub(super) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}
