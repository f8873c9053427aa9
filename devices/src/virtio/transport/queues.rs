//! What the driver wrote about each queue.

use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueState};
use vm_memory::GuestAddress;

use crate::pci::msix::NO_VECTOR;

/// Registers of one queue.
#[derive(Clone, Debug)]
pub(super) struct QueueRegisters {
    /// Size, addresses and, while the queue is stopped, indices.
    pub(super) state: QueueState,
    /// MSI-X vector.
    pub(super) vector: u16,
    /// The driver enabled the queue.
    pub(super) enabled: bool,
    /// A worker has the queue.
    pub(super) running: bool,
}

/// Registers of one queue in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSnapshot {
    /// Size that the driver chose.
    pub size: u16,
    /// The driver enabled the queue.
    pub enabled: bool,
    /// MSI-X vector.
    pub vector: u16,
    /// Descriptor table, available ring, used ring.
    pub addresses: [u64; 3],
    /// Next available index.
    pub next_avail: u16,
    /// Next used index.
    pub next_used: u16,
}

impl QueueSnapshot {
    /// Where its rings are, if the driver has enabled it, and how many bytes they have (virtio 1.3 §2.7).
    pub fn rings(&self) -> Vec<(GuestAddress, u64)> {
        if !self.enabled {
            return Vec::new();
        }
        let size = u64::from(self.size);
        let bytes = [size * 16, size * 2 + 6, size * 8 + 6];
        self.addresses.into_iter().map(GuestAddress).zip(bytes).collect()
    }
}

impl QueueRegisters {
    /// A queue at power-on.
    pub(super) fn new(max_size: u16) -> Self {
        let state = QueueState { max_size, size: max_size, ..QueueState::default() };
        Self { state, vector: NO_VECTOR, enabled: false, running: false }
    }

    /// The queue as the driver described it; `None` if size or alignment are wrong.
    pub(super) fn queue(&self) -> Option<Queue> {
        Queue::try_from(QueueState { ready: true, event_idx_enabled: false, ..self.state }).ok()
    }

    /// Reads a register of the common structure's part that the selected queue has.
    pub(super) fn read(&self, offset: u64, len: usize) -> u64 {
        match (offset, len) {
            (0x18, 2) => u64::from(self.state.size),
            (0x1a, 2) => u64::from(self.vector),
            (0x1c, 2) => u64::from(self.enabled),
            (0x20, 4 | 8) => self.state.desc_table,
            (0x24, 4) => self.state.desc_table >> 32,
            (0x28, 4 | 8) => self.state.avail_ring,
            (0x2c, 4) => self.state.avail_ring >> 32,
            (0x30, 4 | 8) => self.state.used_ring,
            (0x34, 4) => self.state.used_ring >> 32,
            // queue_notif_config_data and queue_reset: nothing that differs from zero.
            _ => 0,
        }
    }

    /// Writes size or addresses of a queue that is not enabled.
    pub(super) fn write(&mut self, offset: u64, len: usize, value: u64) {
        let field = match offset {
            0x18 if len == 2 => {
                let size = (value & 0xffff) as u16;
                if size.is_power_of_two() && size <= self.state.max_size {
                    self.state.size = size;
                }
                return;
            }
            0x20..0x28 => &mut self.state.desc_table,
            0x28..0x30 => &mut self.state.avail_ring,
            0x30..0x38 => &mut self.state.used_ring,
            _ => return,
        };
        match (offset & 7, len) {
            (0, 8) => *field = value,
            (0, 4) => *field = *field & !0xffff_ffff | value & 0xffff_ffff,
            (4, 4) => *field = *field & 0xffff_ffff | value << 32,
            _ => {}
        }
    }

    pub(super) fn save(&self) -> QueueSnapshot {
        QueueSnapshot {
            size: self.state.size,
            enabled: self.enabled,
            vector: self.vector,
            addresses: [self.state.desc_table, self.state.avail_ring, self.state.used_ring],
            next_avail: self.state.next_avail,
            next_used: self.state.next_used,
        }
    }

    pub(super) fn restore(&mut self, saved: &QueueSnapshot) {
        let [desc_table, avail_ring, used_ring] = saved.addresses;
        self.state = QueueState {
            size: saved.size,
            next_avail: saved.next_avail,
            next_used: saved.next_used,
            desc_table,
            avail_ring,
            used_ring,
            ..QueueRegisters::new(self.state.max_size).state
        };
        self.vector = saved.vector;
        self.enabled = saved.enabled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_rings_once_its_driver_has_enabled_it() {
        let mut queue = QueueSnapshot {
            size: 256,
            enabled: false,
            vector: 0,
            addresses: [0x1000, 0x2000, 0x3000],
            next_avail: 0,
            next_used: 0,
        };
        assert_eq!(queue.rings(), []);
        queue.enabled = true;
        let rings: Vec<_> = queue.rings().into_iter().map(|(start, bytes)| (start.0, bytes)).collect();
        assert_eq!(rings, [(0x1000, 4096), (0x2000, 518), (0x3000, 2054)]);
    }
}
