//! The common configuration structure (virtio 1.3 §4.1.4.3): a register file in front of a device.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pci::Machine;
use super::queues::{QueueRegisters, QueueSnapshot};
use crate::chain;
use crate::pci::ConfigState;
use crate::pci::msix::MsixState;
use crate::virtio::events::STATUS_NEEDS_RESET;
use crate::virtio::{DeviceEvents, DeviceState, Ring, VirtioDevice, feature};

const STATUS_FEATURES_OK: u8 = 8;
const STATUS_DRIVER_OK: u8 = 4;
/// What the transport itself can do.
const TRANSPORT_FEATURES: u64 = feature::VERSION_1 | feature::RING_RESET;

/// A driver's view of one device, and the device behind it.
pub(super) struct Registers {
    device: Box<dyn VirtioDevice>,
    machine: Arc<Machine>,
    feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    status: u8,
    queue_select: u16,
    queues: Vec<QueueRegisters>,
    /// Where the window is decoded, for doorbells.
    window: Option<u64>,
    paused: bool,
}

/// What a snapshot keeps of a virtio function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState {
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

    fn events(&self) -> &DeviceEvents {
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
        let Some(queue) = self.queues.get(usize::from(self.queue_select)) else { return 0 };
        match (offset, len) {
            (0x18, 2) => u64::from(queue.state.size),
            (0x1a, 2) => u64::from(queue.vector),
            (0x1c, 2) => u64::from(queue.enabled),
            (0x1e, 2) => u64::from(self.queue_select),
            (0x20, 4 | 8) => queue.state.desc_table,
            (0x24, 4) => queue.state.desc_table >> 32,
            (0x28, 4 | 8) => queue.state.avail_ring,
            (0x2c, 4) => queue.state.avail_ring >> 32,
            (0x30, 4 | 8) => queue.state.used_ring,
            (0x34, 4) => queue.state.used_ring >> 32,
            // queue_notif_config_data and queue_reset: nothing that differs from zero.
            _ => 0,
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
        let vector = self.machine.valid_vector((value & 0xffff) as u16);
        let Some(queue) = self.queues.get_mut(usize::from(index)) else { return };
        match (offset, len) {
            (0x1c, 2) if value == 1 => self.enable_queue(index),
            (0x3a, 2) if value == 1 => self.reset_queue(index),
            // Nothing else may change while the queue is live (virtio 1.3 §4.1.4.3.2).
            _ if queue.enabled => {}
            (0x18, 2) => {
                let size = (value & 0xffff) as u16;
                if size.is_power_of_two() && size <= queue.state.max_size {
                    queue.state.size = size;
                }
            }
            (0x1a, 2) => queue.vector = vector,
            (0x20..0x38, 4 | 8) => {
                let field = match offset & 0x38 {
                    0x20 => &mut queue.state.desc_table,
                    0x28 => &mut queue.state.avail_ring,
                    _ => &mut queue.state.used_ring,
                };
                match (offset & 7, len) {
                    (0, 8) => *field = value,
                    (0, 4) => *field = *field & !0xffff_ffff | value & 0xffff_ffff,
                    (4, 4) => *field = *field & 0xffff_ffff | value << 32,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn offered(&self) -> u64 {
        self.device.features() | TRANSPORT_FEATURES
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
        let mut status = value & !STATUS_NEEDS_RESET;
        if status & STATUS_FEATURES_OK != 0 && self.status & STATUS_FEATURES_OK == 0 {
            let acceptable =
                self.driver_features & !self.offered() == 0 && self.driver_features & feature::VERSION_1 != 0;
            if !acceptable {
                status &= !STATUS_FEATURES_OK;
            }
        }
        // A driver must not clear bits but by a reset (virtio 1.3 §2.1.1).
        self.status |= status;
        if self.is_live() {
            (0..self.queues.len()).for_each(|index| self.start(index));
        }
    }

    fn is_live(&self) -> bool {
        const LIVE: u8 = STATUS_DRIVER_OK | STATUS_FEATURES_OK;
        self.status & LIVE == LIVE && !self.paused
    }

    fn enable_queue(&mut self, index: u16) {
        let index = usize::from(index);
        if let Some(queue) = self.queues.get_mut(index) {
            queue.enabled = true;
        }
        if self.is_live() {
            self.start(index);
        }
    }

    fn reset_queue(&mut self, index: u16) {
        let index = usize::from(index);
        self.stop(index);
        if let Some(queue) = self.queues.get_mut(index) {
            *queue = QueueRegisters::new(queue.state.max_size);
        }
    }

    /// Hands an enabled queue to its worker. A queue that makes no sense leaves the device in need of a reset.
    fn start(&mut self, index: usize) {
        let Ok(number) = u16::try_from(index) else { return };
        let Some(registers) = self.queues.get_mut(index) else { return };
        if !registers.enabled || registers.running {
            return;
        }
        let ring = registers
            .queue()
            .filter(|queue| virtio_queue::QueueT::is_valid(queue, self.machine.mem.as_ref()))
            .and_then(|queue| {
                let machine = &self.machine;
                let kick = machine.kicks.get(index)?.try_clone().ok()?;
                let interrupt = machine.events.queue_interrupt(registers.vector);
                let events = machine.events.clone();
                Some(Ring::new(queue, machine.mem.clone(), kick, interrupt, events, self.driver_features))
            });
        let Some(ring) = ring else {
            eprintln!("kubevmm: {}: the driver gave queue {index} an impossible place", self.machine.name);
            return self.machine.events.needs_reset();
        };
        match self.device.start_queue(number, ring) {
            Ok(()) => {
                registers.running = true;
                self.machine.attach_doorbell(self.window, index);
                // Whatever the driver made available before this is found at once.
                self.machine.kick(index);
            }
            Err(error) => {
                eprintln!("kubevmm: {}: {}", self.machine.name, chain(&error));
                self.machine.events.needs_reset();
            }
        }
    }

    fn stop(&mut self, index: usize) {
        let Some(registers) = self.queues.get_mut(index) else { return };
        if !std::mem::take(&mut registers.running) {
            return;
        }
        self.machine.detach_doorbell(self.window, index);
        if let Ok(number) = u16::try_from(index)
            && let Some(state) = self.device.stop_queue(number)
        {
            registers.state.next_avail = state.next_avail;
            registers.state.next_used = state.next_used;
        }
    }

    fn reset(&mut self) {
        (0..self.queues.len()).for_each(|index| self.stop(index));
        self.device.reset();
        self.events().reset();
        for queue in &mut self.queues {
            *queue = QueueRegisters::new(queue.state.max_size);
        }
        self.feature_select = 0;
        self.driver_feature_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
        self.status = 0;
    }

    /// The window is decoded elsewhere from now on: doorbells move with it.
    pub(super) fn move_window(&mut self, to: Option<u64>) {
        for (index, queue) in self.queues.iter().enumerate() {
            if queue.running {
                self.machine.detach_doorbell(self.window, index);
                self.machine.attach_doorbell(to, index);
            }
        }
        self.window = to;
    }

    /// Stops all queues where they are.
    pub(super) fn pause(&mut self) {
        self.paused = true;
        (0..self.queues.len()).for_each(|index| self.stop(index));
    }

    /// Starts the queues again that the driver had running.
    pub(super) fn resume(&mut self) {
        self.paused = false;
        if self.is_live() {
            (0..self.queues.len()).for_each(|index| self.start(index));
        }
    }

    pub(super) fn save(&self, config: ConfigState) -> TransportState {
        TransportState {
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

    /// Takes over a saved state while paused; false if it is another kind of device's.
    pub(super) fn restore(&mut self, state: &TransportState) -> bool {
        if state.queues.len() != self.queues.len() || !self.device.restore(&state.device) {
            return false;
        }
        for (queue, saved) in self.queues.iter_mut().zip(&state.queues) {
            queue.restore(saved);
        }
        [self.feature_select, self.driver_feature_select] = state.feature_select;
        self.driver_features = state.driver_features;
        self.queue_select = state.queue_select;
        self.status = state.status & !STATUS_NEEDS_RESET;
        if state.status & STATUS_NEEDS_RESET != 0 {
            self.events().needs_reset();
        }
        self.events().set_config_vector(self.machine.valid_vector(state.config_vector));
        self.events().set_generation(state.config_generation);
        self.events().set_isr(state.isr);
        true
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
