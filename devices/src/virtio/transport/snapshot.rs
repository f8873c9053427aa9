//! What outlives a process: the state of a virtio function.

use serde::{Deserialize, Serialize};

use super::queues::{QueueRegisters, QueueSnapshot};
use super::registers::{Registers, STATUS_FEATURES_OK, STATUS_OF_DRIVER};
use crate::pci::ConfigState;
use crate::pci::msix::MsixState;
use crate::virtio::DeviceState;
use crate::virtio::events::STATUS_NEEDS_RESET;

const VERSION: u32 = 1;

/// What a snapshot keeps of a virtio function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState {
    /// Layout of this struct.
    pub version: u32,
    /// Configuration space.
    pub config: ConfigState,
    /// MSI-X table.
    pub msix: MsixState,
    /// Device feature select, driver feature select.
    pub feature_select: [u32; 2],
    /// Features that the driver accepted.
    pub driver_features: u64,
    /// Device status as the driver reads it.
    pub status: u8,
    /// Selected queue.
    pub queue_select: u16,
    /// Vector for configuration changes.
    pub config_vector: u16,
    /// Configuration generation.
    pub config_generation: u8,
    /// Interrupt status byte.
    pub isr: u8,
    /// All queues.
    pub queues: Vec<QueueSnapshot>,
    /// The device's own state.
    pub device: DeviceState,
}

impl Registers {
    pub(super) fn save(&self, config: ConfigState) -> TransportState {
        TransportState {
            version: VERSION,
            config,
            msix: self.machine.msix.save(),
            feature_select: [self.feature_select, self.driver_feature_select],
            driver_features: self.driver_features,
            status: self.status | self.events().status(),
            queue_select: self.queue_select,
            config_vector: self.events().config_vector(),
            config_generation: self.events().generation(),
            isr: self.events().isr(),
            queues: self.queues.iter().map(QueueRegisters::save).collect(),
            device: self.device.save(),
        }
    }

    /// Takes over a saved state while paused; false if it is another kind of device's, or its driver relies on
    /// features that this device does not have.
    pub(super) fn restore(&mut self, state: &TransportState) -> bool {
        let negotiated = state.status & STATUS_FEATURES_OK != 0;
        let fits = state.version == VERSION
            && state.queues.len() == self.queues.len()
            && (!negotiated || self.is_acceptable(state.driver_features))
            && self.device.restore(&state.device);
        if !fits {
            return false;
        }
        for (queue, saved) in self.queues.iter_mut().zip(&state.queues) {
            queue.restore(saved);
            queue.vector = self.machine.valid_vector(saved.vector);
        }
        [self.feature_select, self.driver_feature_select] = state.feature_select;
        self.driver_features = state.driver_features;
        self.queue_select = state.queue_select;
        self.status = state.status & STATUS_OF_DRIVER;
        self.events().reset();
        if state.status & STATUS_NEEDS_RESET != 0 {
            self.events().needs_reset();
        }
        self.events().set_config_vector(self.machine.valid_vector(state.config_vector));
        self.events().set_generation(state.config_generation);
        self.events().set_isr(state.isr);
        true
    }
}
