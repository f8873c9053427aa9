//! How those who hold a device's handle tell its driver of a new configuration.

use std::sync::Mutex;

use super::{DeviceEvents, Ring};
use crate::lock;

/// A path to the driver, known once the driver has started a queue.
#[derive(Debug, Default)]
pub(crate) struct ConfigNotice(Mutex<Option<DeviceEvents>>);

impl ConfigNotice {
    /// Remembers how the driver of `ring` is reached.
    pub(crate) fn connect(&self, ring: &Ring) {
        *lock(&self.0) = Some(ring.events().clone());
    }

    /// Forgets the driver, which has reset the device and will read the configuration anew.
    pub(crate) fn disconnect(&self) {
        *lock(&self.0) = None;
    }

    /// Tells the driver, if there is one, to read the configuration again.
    pub(crate) fn config_changed(&self) {
        if let Some(events) = &*lock(&self.0) {
            events.config_changed();
        }
    }
}
