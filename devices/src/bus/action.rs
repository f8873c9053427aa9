//! What a write may ask of the machine.

use std::fmt;
use std::sync::Arc;

use super::{BusDevice, Window};

/// Consequence of a bus write, carried out by the vCPU thread when no device lock is held.
#[must_use = "an action that is dropped is a guest request that is lost"]
#[derive(Debug, Default)]
pub enum Action {
    /// Nothing beyond the device itself.
    #[default]
    None,
    /// The guest asked for a reset of the whole machine (port 0xCF9, keyboard controller, ACPI reset register).
    Reset,
    /// The guest entered ACPI sleep state S5.
    PowerOff,
    /// The guest reported an event by pvpanic.
    Panicked(Panic),
    /// Windows of a device appeared, moved or disappeared.
    Remap(Vec<Remap>),
}

/// Events of the pvpanic device (QEMU docs/specs/pvpanic).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panic {
    /// Bit 0: the guest panicked and did nothing more about it.
    Panicked,
    /// Bit 1: the guest panicked and its crash kernel takes over.
    CrashLoaded,
    /// Bit 2: the guest shuts down in an orderly way.
    Shutdown,
}

/// The two address spaces of x86.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Memory-mapped I/O.
    Mmio,
    /// Port I/O.
    Pio,
}

/// A device whose window may have to move.
#[derive(Clone)]
pub struct Remap {
    /// Who answers in the window.
    pub device: Arc<dyn BusDevice>,
    /// The window.
    pub window: Arc<Window>,
}

impl fmt::Debug for Remap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remap").field("window", &self.window).finish_non_exhaustive()
    }
}
