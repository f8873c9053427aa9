//! What the driver wrote about each queue.

use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueState};

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
