//! The kernel's network configuration, by rtnetlink(7).

mod types;

pub use types::{Address, Interface, Kind, MacvtapMode, Neighbour, Parent, Route, Scope};
