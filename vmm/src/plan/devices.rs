//! PCI functions of a plan.

use devices::pci::PciAddress;
use serde::{Deserialize, Serialize};

use super::{DiskPlan, NicPlan};

/// What a PCI function is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DevicePlan {
    /// virtio-blk.
    Disk(DiskPlan),
    /// virtio-net.
    Nic(Box<NicPlan>),
    /// virtio-console with the guest agent's port.
    Console {
        /// Name of the port, as the guest reads it.
        port: String,
    },
    /// virtio-rng.
    Rng,
    /// virtio-balloon.
    Balloon {
        /// The guest may report free pages.
        reporting: bool,
    },
}

impl DevicePlan {
    /// Number of virtqueues.
    pub fn queues(&self) -> u16 {
        match self {
            Self::Disk(disk) => disk.queues,
            // A pair each, and the control queue.
            Self::Nic(nic) => nic.queue_pairs.saturating_mul(2).saturating_add(1),
            // Two of the port, and two control queues.
            Self::Console { .. } => 4,
            Self::Rng => 1,
            // Inflate, deflate, statistics, reports.
            Self::Balloon { .. } => 4,
        }
    }

    /// Number of interrupts: one for the configuration, and one a queue. The queues of a card that has one pair share
    /// theirs, which is what drivers do where there are only two (virtio 1.3 §4.1.5.1.3 leaves it to them): as a rule what
    /// the guest sends is done when the answer comes, and one interrupt tells of both, where a second one would wait for
    /// the end of the first and cost the guest two more exits. The kernel's queues signal without knowing of each other, and
    /// have one each.
    pub fn vectors(&self) -> u16 {
        match self {
            Self::Nic(nic) if nic.queue_pairs == 1 && !nic.vhost => 2,
            _ => self.queues().saturating_add(1),
        }
    }
}

/// A device at its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Function {
    /// Name in messages: the disk's or interface's of the manifest.
    pub name: String,
    /// Where it sits.
    pub address: PciAddress,
    /// Where its window is at power-on.
    pub window: u64,
    /// First of its consecutive interrupt routes.
    pub first_gsi: u32,
    /// Which I/O threads serve it; its queues take turns over them.
    pub io_threads: Vec<u16>,
    /// What it is.
    pub device: DevicePlan,
}
