//! What others may read of a machine's devices while it runs: metrics, above all.

use std::sync::{Arc, Mutex, PoisonError};

use devices::virtio::balloon::BalloonHandle;
use devices::virtio::blk::BlkHandle;
use devices::virtio::net::NetHandle;

/// The devices of one machine, by their names in the manifest.
#[derive(Clone, Debug, Default)]
pub struct Handles {
    /// Disks.
    pub disks: Vec<(String, BlkHandle)>,
    /// Network cards.
    pub cards: Vec<(String, NetHandle)>,
    /// The memory balloon, if there is one.
    pub balloon: Option<BalloonHandle>,
}

/// The devices of the machine that runs at present. A machine that is built again, after a reset, has new ones, whose
/// counters begin at zero; between machines there are none. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Devices(Arc<Mutex<Arc<Handles>>>);

impl Devices {
    /// The devices as they are. Who keeps this for long keeps a machine's disks open.
    pub fn current(&self) -> Arc<Handles> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows other devices from now on.
    pub(crate) fn show(&self, handles: Handles) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(handles);
    }
}
