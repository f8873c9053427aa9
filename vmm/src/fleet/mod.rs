//! Machines that are kept: VirtualMachines, replica sets and pools, one process a machine.
//!
//! A fleet is what one `kubevmm up` looks after. Its folder in the runtime root holds all that a supervisor which takes
//! over from a dead one has to know ([`Record`]), so that machines outlive their supervisor and are adopted. What ought
//! to be is decided by pure functions ([`Strategy`], [`replicas`]); that nothing runs twice is seen to by the lock in
//! every machine's runtime directory, not by the supervisor's memory.

mod backoff;
mod clock;
mod folder;
mod instance;
mod keeper;
mod move_routes;
mod moves;
mod orders;
mod process;
mod record;
pub mod replicas;
mod routes;
mod strategy;
mod view;
mod wanted;

pub use folder::{Folder, FolderError, names, path, supervisor};
pub use keeper::{Supervisor, SupervisorError};
pub use moves::{Moves, Ordered};
pub use orders::{Orders, orders};
pub use process::Launch;
pub use record::{Key, Record};
pub use routes::{ALL as ROUTES, FleetContext};
pub use strategy::{End, Order, Strategy};
pub use view::View;
pub use wanted::{Owner, Wanted, wanted};
