//! virtio over PCI (virtio 1.3 §4.1): one function with one 64-bit window that holds all structures.

mod capabilities;
mod layout;
mod pci;
mod queues;
mod registers;
mod running;
mod snapshot;
#[cfg(test)]
mod tests;

pub use pci::{PciParts, VirtioPci};
pub use queues::QueueSnapshot;
pub use snapshot::TransportState;
