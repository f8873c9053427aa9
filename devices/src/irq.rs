//! Interrupts, as devices see them: lines that they raise and messages that the guest programs.

use std::fmt::Debug;
use std::io;

/// A wire to the interrupt controllers, held by one device.
pub trait IrqLine: Send + Sync + Debug {
    /// Drives the line; a repeated level is a no-op.
    fn set_level(&self, high: bool);

    /// One edge, for devices whose line is edge-triggered (ISA).
    fn pulse(&self) {
        self.set_level(true);
        self.set_level(false);
    }
}

/// A message-signalled interrupt as the guest wrote it (PCI 3.0 §6.8.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MsiMessage {
    /// Address that the message is written to.
    pub address: u64,
    /// Value that is written.
    pub data: u32,
}

/// The machine's table of interrupt routes: which message an irqfd sends.
///
/// Changes are recorded one by one and brought into force together, because the table is replaced as a whole and
/// the replacement waits for every vCPU.
pub trait MsiRoutes: Send + Sync + Debug {
    /// Records that `gsi` sends `message` from the next [`MsiRoutes::commit`] on, or nothing.
    fn set(&self, gsi: u32, message: Option<MsiMessage>);

    /// Brings all recorded changes into force.
    fn commit(&self) -> io::Result<()>;
}

/// One interrupt that a PCI function may signal by message: an eventfd wired to a slot of the route table.
#[derive(Debug)]
pub struct MsiSlot {
    /// Index in the route table.
    pub gsi: u32,
    /// Writing to it sends the message that `gsi` is routed to.
    pub irqfd: vmm_sys_util::eventfd::EventFd,
}
