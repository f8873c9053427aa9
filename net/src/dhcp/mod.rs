//! What a guest is told about its network when it asks: its address and everything that comes with it.
//!
//! The types are plain data, which a plan holds; [`crate::Answered`] does the answering.

mod lease;
mod routes;

pub use lease::{Answers, Extras4, LEASE_SECONDS, Lease4, Lease6, Mac, PrivateOption, RouterAdvert};
pub use routes::{PodRoute, Route4, routes_of_pod};
