//! Machines that are kept: VirtualMachines, replica sets and pools, one process a machine.
//!
//! A fleet is what one `kubevmm up` looks after. Its folder in the runtime root holds all that a supervisor which takes
//! over from a dead one has to know ([`Record`]), so that machines outlive their supervisor and are adopted. What ought
//! to be is decided by pure functions ([`Strategy`], [`replicas`]); that nothing runs twice is seen to by the lock in
//! every machine's runtime directory, not by the supervisor's memory.

mod backoff;
mod folder;
mod instance;
mod keeper;
mod process;
mod record;
pub mod replicas;
mod strategy;
mod wanted;

pub use folder::{Folder, FolderError, names, path, supervisor};
pub use keeper::{Supervisor, SupervisorError};
pub use process::Launch;
pub use record::{Key, Record};
pub use strategy::{End, Order, Strategy};
pub use wanted::{Owner, Wanted, wanted};
