//! The state driver: the one owner of a machine.

mod arrival;
mod devices;
mod driver;
mod evicting;
mod exit_reason;
mod leaving;
mod loading;
mod mailbox;
mod memory;
mod migrating;
mod orders;
mod policy;
mod report;
mod request;
mod saving;
mod slot_cards;
mod slot_disks;
mod slots;
mod waiting;

pub use arrival::{Arrival, ArrivalError, Arriving, Moment};
pub use driver::{Driver, Outcome, RunError};
pub use evicting::Refuge;
pub use exit_reason::ExitReason;
pub(crate) use loading::load;
pub use mailbox::{Event, Mailbox};
pub use report::write as write_report;
pub use request::{Done, Refusal, RefusalKind, Reply, Requests, Verb};
pub use saving::{Glance, Hold, LookOrder, Order, Release, SaveOrder, Saved};
