//! The serial console: the guest's port on one side, who listens and types on the other.

mod hub;
mod log;
mod pump;
mod side;
mod target;

pub use hub::{ConsoleHub, Heard, Keyboard, Listener, Plugged, Typed};
pub use log::{ConsoleLog, LOG_FILE, LOG_FILES, OLD_LOG_FILE};
pub use pump::{ConsolePump, ESCAPE};
pub use target::{BadConsoleTarget, Console, ConsoleTarget};
