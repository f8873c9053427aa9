//! The host's side of a guest's network: what is there, and what is made for it.

mod names;
mod resolver;
mod survey;

pub use names::{Names, POD_PRIMARY, ordinal_pod_interface, pod_interface};
pub use resolver::Resolver;
pub use survey::{Rights, Survey};
