//! The host's side of a guest's network: what is there, and what is made for it.

mod error;
mod free;
mod make;
mod maker;
mod names;
mod record;
mod resolver;
mod setting;
mod setup;
#[cfg(test)]
mod setup_tests;
mod survey;
mod undo;
mod wanted;

pub use error::SetupError;
pub use free::free_network;
pub use maker::Save;
pub use names::{Names, POD_PRIMARY, ordinal_pod_interface, pod_interface};
pub use record::{Leftover, Record};
pub use resolver::Resolver;
use setup::MARK;
pub use setup::{HostSetup, Made};
pub use survey::{Rights, Survey};
pub use wanted::{Behind, Forwards, Wanted};
