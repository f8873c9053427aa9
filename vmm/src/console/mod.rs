//! The serial console's host side.

mod pump;
mod target;

pub use pump::ConsolePump;
pub use target::{BadConsoleTarget, Console, ConsoleTarget};
