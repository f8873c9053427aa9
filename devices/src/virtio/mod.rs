//! virtio 1.3: the device models and their PCI transport.
//!
//! A [`VirtioDevice`] is the front part of a device: identity, features, configuration space. Its queues have one
//! primitive, [`VirtioDevice::start_queue`] and [`VirtioDevice::stop_queue`]; activation, reset, pause and snapshot are made of
//! nothing else. A running queue is a [`crate::io_thread::Worker`] that owns its [`Ring`] and its backend.

mod buffers;
mod config_space;
mod counter;
mod device;
mod events;
mod limit;
mod notice;
mod responder;
mod ring;
mod rings;
#[cfg(test)]
mod testing;
mod threads;
mod walk;
mod worker;

pub mod balloon;
pub mod blk;
pub mod console;
pub mod net;
pub mod rng;
pub mod transport;

pub use counter::Counter;
pub use device::{DeviceState, StartError, VirtioDevice, VirtioId};
pub use events::{DeviceEvents, QueueInterrupt};
pub use limit::RateLimit;
pub(crate) use ring::Taken;
pub use ring::{Ring, RingError};
pub use threads::Threads;

/// Feature bits that belong to the ring and the transport, not to a kind of device (virtio 1.3 §6).
pub mod feature {
    /// Chains may live in tables of their own.
    pub const RING_INDIRECT_DESC: u64 = 1 << 28;
    /// Notifications are asked for by index.
    pub const RING_EVENT_IDX: u64 = 1 << 29;
    /// The device is not a legacy one.
    pub const VERSION_1: u64 = 1 << 32;
    /// Memory is reached as the platform says (no bypass of an IOMMU).
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
    /// A single queue may be reset.
    pub const RING_RESET: u64 = 1 << 40;
}
