//! The common configuration structure (virtio 1.3 §4.1.4.3): a register file in front of a device.

use std::sync::Arc;

use super::pci::Machine;
use super::queues::QueueRegisters;
use crate::pci::msix::NO_VECTOR;
use crate::virtio::{DeviceEvents, VirtioDevice, feature};

/// Device status (virtio 1.3 §2.1).
pub(super) const STATUS_DRIVER_OK: u8 = 4;
pub(super) const STATUS_FEATURES_OK: u8 = 8;
/// What a driver may set: ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, FAILED.
pub(super) const STATUS_OF_DRIVER: u8 = 0x8f;
/// What the transport itself can do.
const TRANSPORT_FEATURES: u64 = feature::VERSION_1 | feature::RING_RESET;

/// A driver's view of one device, and the device behind it.
pub(super) struct Registers {
    pub(super) device: Box<dyn VirtioDevice>,
    pub(super) machine: Arc<Machine>,
    pub(super) feature_select: u32,
    pub(super) driver_feature_select: u32,
    pub(super) driver_features: u64,
    pub(super) status: u8,
    pub(super) queue_select: u16,
    pub(super) queues: Vec<QueueRegisters>,
    /// Where the window is decoded, for doorbells.
    pub(super) window: Option<u64>,
    pub(super) paused: bool,
}

impl Registers {
    pub(super) fn new(device: Box<dyn VirtioDevice>, machine: Arc<Machine>) -> Self {
        let queues = device.queue_sizes().iter().map(|size| QueueRegisters::new(*size)).collect();
        Self {
            device,
            machine,
            feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            status: 0,
            queue_select: 0,
            queues,
            window: None,
            paused: false,
        }
    }

    pub(super) fn events(&self) -> &DeviceEvents {
        &self.machine.events
    }

    pub(super) fn read_device(&self, offset: u64, data: &mut [u8]) {
        self.device.read_config(offset, data);
    }

    pub(super) fn write_device(&mut self, offset: u64, data: &[u8]) {
        self.device.write_config(offset, data);
    }

    /// Reads a field of the common structure. Fields are read whole, or 32-bit halves of 64-bit ones; anything else
    /// reads as zero.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        let value = match (offset, data.len()) {
            (0x00, 4) => u64::from(self.feature_select),
            (0x04, 4) => half(self.offered(), self.feature_select),
            (0x08, 4) => u64::from(self.driver_feature_select),
            (0x0c, 4) => half(self.driver_features, self.driver_feature_select),
            (0x10, 2) => u64::from(self.events().config_vector()),
            (0x12, 2) => self.queues.len() as u64,
            (0x14, 1) => u64::from(self.status | self.events().status()),
            (0x15, 1) => u64::from(self.events().generation()),
            (0x16, 2) => u64::from(self.queue_select),
            (0x18..0x40, _) => self.read_queue(offset, data.len()),
            _ => 0,
        };
        for (byte, value) in data.iter_mut().zip(value.to_le_bytes().into_iter().chain([0; 8])) {
            *byte = value;
        }
    }

    fn read_queue(&self, offset: u64, len: usize) -> u64 {
        match (self.queues.get(usize::from(self.queue_select)), offset, len) {
            (Some(_), 0x1e, 2) => u64::from(self.queue_select),
            (Some(queue), ..) => queue.read(offset, len),
            (None, 0x1a, 2) => u64::from(NO_VECTOR),
            (None, ..) => 0,
        }
    }

    /// Writes a field of the common structure; other widths than the field's are ignored.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let mut bytes = [0; 8];
        for (byte, value) in bytes.iter_mut().zip(data) {
            *byte = *value;
        }
        let [b0, b1, b2, b3, ..] = bytes;
        let word = u16::from_le_bytes([b0, b1]);
        let dword = u32::from_le_bytes([b0, b1, b2, b3]);
        match (offset, data.len()) {
            (0x00, 4) => self.feature_select = dword,
            (0x08, 4) => self.driver_feature_select = dword,
            (0x0c, 4) => self.accept_features(dword),
            (0x10, 2) => self.events().set_config_vector(self.machine.valid_vector(word)),
            (0x14, 1) => self.set_status(b0),
            (0x16, 2) => self.queue_select = word,
            (0x18..0x40, _) => self.write_queue(offset, data.len(), u64::from_le_bytes(bytes)),
            _ => {}
        }
    }

    fn write_queue(&mut self, offset: u64, len: usize, value: u64) {
        let index = self.queue_select;
        match (offset, len) {
            (0x1c, 2) if value == 1 => self.enable_queue(index),
            (0x3a, 2) if value == 1 && self.has(feature::RING_RESET) => self.reset_queue(index),
            // Some drivers choose the vector after they enabled the queue.
            (0x1a, 2) => self.set_vector(index, self.machine.valid_vector((value & 0xffff) as u16)),
            _ => {
                // Nothing else may change while the queue is live (virtio 1.3 §4.1.4.3.2).
                let queue = self.queues.get_mut(usize::from(index)).filter(|queue| !queue.enabled);
                if let Some(queue) = queue {
                    queue.write(offset, len, value);
                }
            }
        }
    }

    pub(super) fn offered(&self) -> u64 {
        self.device.features() | TRANSPORT_FEATURES
    }

    /// Whether a driver can be served that accepted `features`.
    pub(super) fn is_acceptable(&self, features: u64) -> bool {
        features & !self.offered() == 0 && features & feature::VERSION_1 != 0
    }

    fn accept_features(&mut self, value: u32) {
        if self.status & STATUS_FEATURES_OK != 0 {
            return;
        }
        match self.driver_feature_select {
            0 => self.driver_features = self.driver_features & !0xffff_ffff | u64::from(value),
            1 => self.driver_features = self.driver_features & 0xffff_ffff | u64::from(value) << 32,
            _ => {}
        }
    }

    fn set_status(&mut self, value: u8) {
        if value == 0 {
            return self.reset();
        }
        let mut status = value & STATUS_OF_DRIVER;
        if status & STATUS_FEATURES_OK != 0 && self.status & STATUS_FEATURES_OK == 0 {
            let acceptable = self.is_acceptable(self.driver_features);
            status &= if acceptable { 0xff } else { !STATUS_FEATURES_OK };
        }
        // A driver must not clear bits but by a reset (virtio 1.3 §2.1.1).
        self.status |= status;
        self.start_enabled();
    }

    /// Whether a feature was negotiated.
    fn has(&self, feature: u64) -> bool {
        self.status & STATUS_FEATURES_OK != 0 && self.driver_features & feature != 0
    }

    pub(super) fn is_live(&self) -> bool {
        const LIVE: u8 = STATUS_DRIVER_OK | STATUS_FEATURES_OK;
        self.status & LIVE == LIVE && !self.paused
    }
}

/// The 32 bits of `features` that `select` names; zero beyond 64 bits.
fn half(features: u64, select: u32) -> u64 {
    match select {
        0 => features & 0xffff_ffff,
        1 => features >> 32,
        _ => 0,
    }
}
