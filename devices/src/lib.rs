//! Device models and buses of the q35-style machine.
//!
//! Devices know guest memory, queues, disks and network backends. They know neither KVM nor the process around
//! them: what they need of the machine reaches them as narrow handles ([`irq`], [`doorbell`], [`io_thread`]), and
//! what they want of it they return as an [`bus::Action`].

// What a guest or an image says must never be an index that panics.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod bus;
mod chain;
pub mod doorbell;
pub mod io_thread;
pub mod irq;
mod limited_log;
mod lock;
pub mod pci;
pub mod platform;
pub mod say;
pub mod virtio;

pub use chain::chain;
pub use limited_log::LimitedLog;
pub(crate) use lock::lock;

use std::sync::Arc;

/// Guest RAM as every device sees it: shared, with marks for what devices write ([`ram`]).
pub type GuestRam = Arc<ram::Ram>;
