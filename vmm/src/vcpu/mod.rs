//! vCPUs: one thread each, which does nothing but run guest code and carry out what its exits ask for.

mod counters;
mod exit;
mod gate;
mod io_exit;
mod setup;
mod state;
mod thread;

pub use counters::VcpuCounters;
pub use exit::GuestEvent;
pub use gate::{Errand, Gate};
pub use setup::{Role, VcpuSetup};
pub use state::VcpuState;
pub use thread::{Shared, VcpuError, VcpuKick, VcpuThread};
