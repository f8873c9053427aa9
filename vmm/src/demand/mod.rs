//! Memory that comes when it is needed: a machine runs before its memory is here.
//!
//! Who has the memory serves it ([`serve`]): pages that somebody waits for first, then the rest. Who needs it has the faults of its guest's
//! memory come to this process ([`Demand`]): a page that is touched and is not here yet is asked for, and whoever touched it waits. It is
//! the same whether the other side has a snapshot or the memory of a machine that has moved, and whether it is in this process or on another
//! host.
//!
//! The threads that serve faults never touch guest memory, and take no lock that anybody holds who does: nothing waits for itself. When the
//! other side is gone, whoever waits goes on waiting, the machine is paused, and the other side is looked for until it is back. A page is
//! never filled with anything but what belongs there.
//!
//! Pages of 4 KiB go over the connection. Memory in huge pages gets them when all of a huge page have come.

mod agenda;
mod arrivals;
mod connection;
mod faults;
mod fetch;
mod handle;
mod lacking;
mod parts;
mod serve;
mod shared;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unit;

pub use connection::{Connection, Link};
pub use fetch::{Fetcher, NotFetched, Presence};
pub use handle::{Before, Demand, DemandError, Gauge, Reading};
pub use serve::{Rest, Served, Service, Shelf, serve};
pub use shared::News;
pub use unit::pages_together;

use std::time::Duration;

/// How long either side may be silent before it counts as gone.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// After so long without anything to say, a side says that it is there.
const ALIVE: Duration = Duration::from_secs(5);
