//! The other end of the API, for commands: finds machines in the runtime root and talks to them, one request after the other.

mod console;
mod error;
mod fleet;
mod http;
mod machine;
#[cfg(test)]
mod tests;

pub use console::{Console, ConsoleKeyboard};
pub use error::ClientError;
pub use fleet::{Fleet, Kind, fleets, keeper};
pub use http::{Answer, Lines};
pub use machine::{Machine, all};
