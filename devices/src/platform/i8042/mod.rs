//! Keyboard controller (Intel 8042) with nothing plugged in: ports 0x60 and 0x64.
//!
//! It is here because guests reset the machine through it and because firmware insists on its self test. Both PS/2
//! ports are empty. Bytes sent to them are answered at once with "resend" and the time-out bit, so that a driver that
//! tries all the same gives up without waiting. The controller raises no interrupts: without a device there is nothing
//! to report, and drivers poll while they probe.

mod controller;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use controller::Controller;
pub use controller::{Parameter, State};

use super::state::StateError;
use crate::bus::{Action, BusDevice};
use crate::lock;

/// Port of the output and input buffers.
pub const DATA_BASE: u64 = 0x60;
/// Port of the status and command registers.
pub const COMMAND_BASE: u64 = 0x64;
/// Number of ports at either base.
pub const SIZE: u64 = 1;

/// The controller; its two ports are claimed one by one because port 0x61 between them is another device's.
#[derive(Debug, Default)]
pub struct I8042(Arc<Mutex<Controller>>);

impl I8042 {
    /// A controller as it is at power-on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The device at [`DATA_BASE`].
    pub fn data_port(&self) -> Arc<dyn BusDevice> {
        Arc::new(DataPort(Arc::clone(&self.0)))
    }

    /// The device at [`COMMAND_BASE`].
    pub fn command_port(&self) -> Arc<dyn BusDevice> {
        Arc::new(CommandPort(Arc::clone(&self.0)))
    }

    /// State for a snapshot.
    pub fn save(&self) -> State {
        lock(&self.0).save()
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// The state has an unknown version.
    pub fn restore(&self, state: &State) -> Result<(), StateError> {
        lock(&self.0).restore(state)
    }
}

struct DataPort(Arc<Mutex<Controller>>);

impl BusDevice for DataPort {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let (0, Some(first)) = (offset, data.first_mut()) {
            *first = lock(&self.0).take_output();
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        match (offset, data.first()) {
            (0, Some(&value)) => lock(&self.0).input(value),
            _ => Action::None,
        }
    }
}

struct CommandPort(Arc<Mutex<Controller>>);

impl BusDevice for CommandPort {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let (0, Some(first)) = (offset, data.first_mut()) {
            *first = lock(&self.0).status();
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        match (offset, data.first()) {
            (0, Some(&value)) => lock(&self.0).command(value),
            _ => Action::None,
        }
    }
}
