//! What one client, and all of them together, may take.

use std::time::Duration;

/// Connections at a time. One more takes the place of the one that has idled longest, or is turned away.
pub(super) const CONNECTIONS: usize = 128;
/// Bytes of a request's head: its first line and all its fields.
pub(super) const HEAD: usize = 16 << 10;
/// Fields of a request's head.
pub(super) const FIELDS: usize = 64;
/// Bytes of a request's body.
pub(super) const BODY: usize = 256 << 10;
/// Bytes by which chunks may be larger than the body that they carry.
pub(super) const CHUNKS: usize = 64 << 10;
/// Answers that wait for their reader, beyond which nothing more is answered or streamed to it.
pub(super) const WAITING: usize = 64 << 10;

/// How long a request may take to arrive, from its first byte.
pub(super) const ARRIVAL: Duration = seconds(10, 5000);
/// How long a connection may do nothing between requests.
pub(super) const IDLE: Duration = seconds(120, 60_000);
/// How long a client may take nothing of what waits for it.
pub(super) const STALL: Duration = seconds(30, 3000);
/// How long clients may take to read the last that is said, when the machine has ended.
pub(super) const FAREWELL: Duration =
    if cfg!(test) { Duration::from_secs(10) } else { Duration::from_millis(500) };

/// Tests do not wait so long, but so many milliseconds: more than they are ever kept waiting by a busy host where they must not be late.
const fn seconds(count: u64, of_tests: u64) -> Duration {
    if cfg!(test) { Duration::from_millis(of_tests) } else { Duration::from_secs(count) }
}
