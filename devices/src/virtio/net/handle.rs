//! What others may ask of a network card while it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::counters::NetCounters;
use super::{NetShared, NotedWrites, announce};

/// A hold on a network card that outlives the device's move into its transport.
#[derive(Clone, Debug)]
pub struct NetHandle(pub(super) Arc<NetShared>);

impl NetHandle {
    /// Plugs the cable in or pulls it, and tells the driver. While it is out, frames are lost both ways.
    pub fn set_link(&self, up: bool) {
        self.0.set_link(up);
    }

    /// Whether the cable is plugged in.
    pub fn link_is_up(&self) -> bool {
        self.0.link_up.load(Ordering::Acquire)
    }

    /// Asks the driver to tell the network where it is now, after it has moved (virtio 1.3 §5.1.6.5.4). False if no
    /// driver is there that can: then its address has to be made known by other means.
    pub fn announce(&self) -> bool {
        self.0.announce()
    }

    /// Tells the network where the card is now, after it has moved, in the name of a driver that may be slow to do so: by a frame
    /// from its address to all (RARP, as QEMU sends it), which switches learn from.
    pub fn announce_for_driver(&self) {
        announce::shout(&self.0);
    }

    /// Hardware address in use, which the driver may have changed.
    pub fn mac(&self) -> [u8; 6] {
        self.0.settings.get().mac
    }

    /// Queue pairs in use.
    pub fn active_pairs(&self) -> u16 {
        self.0.settings.get().active_pairs
    }

    /// What the kernel notes of its writes to guest memory, if it serves the card.
    pub fn noted_writes(&self) -> Option<NotedWrites> {
        NotedWrites::of(&self.0)
    }

    /// What the card did so far.
    pub fn counters(&self) -> &NetCounters {
        &self.0.counters
    }
}
