//! How the machine is, as a VirtualMachineInstance says it, and what happened to it, as Events say it.
//!
//! The driver's thread is the only one that writes, through a [`StatusKeeper`]. All others read the [`Board`].

mod agent;
mod board;
mod clock;
mod conditions;
mod event;
mod files;
mod hotplug;
mod initial;
mod keeper;
mod migrations;
mod phase;

pub use board::{Board, Published, Subscription};
pub use clock::{now, rfc3339};
pub use conditions::Pause;
pub use event::{EventReason, EventRecord, Severity};
pub use files::{EVENTS_FILE, FILES, VMI_FILE};
pub use hotplug::VolumePhase;
pub use keeper::StatusKeeper;
pub use migrations::{Change, Deleted, MigrationPhase, PublishedMigration, enter, phase_of};
pub use phase::Phase;
