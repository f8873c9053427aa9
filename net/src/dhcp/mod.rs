//! What a guest is told about its network when it asks: its address and everything that comes with it.
//!
//! The types are plain data, which a plan holds; [`crate::Answered`] does the answering.

pub(crate) mod advert;
mod lease;
mod names;
mod routes;
pub(crate) mod v4;
pub(crate) mod v6;

pub use lease::{Answers, Extras4, LEASE_SECONDS, Lease4, Lease6, PrivateOption, RouterAdvert};
pub use routes::{PodRoute, Route4, routes_of_pod};

/// What an exchange means for the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leased {
    /// The client has it now.
    Taken,
    /// The client gave it back.
    Ended,
}

/// The bits of an IPv4 address that a prefix of this length covers.
fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}
