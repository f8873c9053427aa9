//! PCI: configuration spaces, base address registers, MSI-X, and the two ways to reach them.

mod address;
mod bar;
mod bus;
mod config;
mod fixed;
mod host_bridge;
#[cfg(test)]
mod hostile_tests;
mod lpc;
pub mod msix;
mod ports;
mod root_port;

pub use address::PciAddress;
pub use bar::{Bar, BarChange, BarKind};
pub use bus::{Ecam, PciBus};
pub use config::{Capability, ConfigSpace, ConfigState, Identity};
pub use fixed::FixedFunction;
pub use host_bridge::host_bridge;
pub use lpc::lpc;
pub use ports::ConfigPorts;
pub use root_port::{Card, Forwarded, Occupied, OnSlot, PortParts, PortState, RootPort, SlotEvent};

use crate::bus::Action;

/// A function on a PCI bus, as configuration accesses see it.
pub trait PciFunction: Send + Sync {
    /// Fills `data` from `offset` of the configuration space; all ones past its end.
    fn read_config(&self, offset: u16, data: &mut [u8]);

    /// Writes `data` at `offset` of the configuration space; read-only bits and bytes past its end are ignored.
    fn write_config(&self, offset: u16, data: &[u8]) -> Action;
}
