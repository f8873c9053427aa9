//! Where the other side is, and the connection to it.

mod address;
mod callers;
mod gate;
mod protection;
mod route;
mod stream;

pub use address::{Address, BadAddress};
pub use callers::{Callers, Place};
pub use gate::{Caller, Gate, Listener};
pub use protection::{Protection, Unprotected};
pub use route::Route;
pub use stream::Stream;
