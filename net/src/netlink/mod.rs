//! The kernel's network configuration, by rtnetlink(7).

mod error;
mod ip;
mod links;
pub(crate) mod message;
mod namespace;
mod save;
pub(crate) mod socket;
mod sys;
#[cfg(test)]
mod tests;
mod types;

pub use error::NetlinkError;
pub(crate) use error::unless_missing;
pub(crate) use links::LONGEST_ALIAS;
pub use links::{NewInterface, NewKind, PortSettings};
pub use namespace::{Namespace, NamespaceId};
pub use save::Saved;
pub use types::{Address, Interface, Kind, MacvtapMode, Neighbour, Parent, Route, Scope};

/// A connection to the configuration of the network namespace that the thread was in which opened it.
#[derive(Debug)]
pub struct Netlink {
    socket: socket::Socket,
}

impl Netlink {
    /// Connects.
    ///
    /// # Errors
    /// The kernel has no rtnetlink, or the process may open no more files.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { socket: socket::Socket::open(libc::NETLINK_ROUTE)? })
    }
}
