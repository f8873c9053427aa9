//! Functions of the chipset that are nothing but their configuration space.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ConfigSpace, ConfigState, PciFunction};
use crate::bus::Action;

/// A function without windows: the host bridge, the LPC bridge.
#[derive(Debug)]
pub struct FixedFunction(Mutex<ConfigSpace>);

impl FixedFunction {
    /// A function with this configuration space.
    pub fn new(config: ConfigSpace) -> Self {
        Self(Mutex::new(config))
    }

    /// State for a snapshot.
    pub fn save(&self) -> ConfigState {
        self.config().save()
    }

    /// Takes over a saved state.
    pub fn restore(&self, state: &ConfigState) {
        self.config().restore(state);
    }

    fn config(&self) -> MutexGuard<'_, ConfigSpace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PciFunction for FixedFunction {
    fn read_config(&self, offset: u16, data: &mut [u8]) {
        self.config().read(offset, data);
    }

    fn write_config(&self, offset: u16, data: &[u8]) -> Action {
        self.config().write(offset, data);
        Action::None
    }
}
