//! What a guest may do that concerns the whole machine.

use super::VcpuError;
use crate::plan::WatchdogAction;

/// Something that the state driver has to know.
#[derive(Debug)]
pub enum GuestEvent {
    /// The guest reset the machine.
    Reset,
    /// The guest powered the machine off.
    PowerOff,
    /// The guest reported that it panicked and does nothing more about it.
    Panicked,
    /// The guest let its watchdog run out, which is to have this consequence.
    Hung(WatchdogAction),
    /// A vCPU took a triple fault.
    TripleFault {
        /// Its number.
        vcpu: u32,
    },
    /// A vCPU cannot go on.
    VcpuFailed {
        /// Its number.
        vcpu: u32,
        /// Why.
        error: VcpuError,
    },
}
