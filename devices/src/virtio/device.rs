//! What every kind of virtio device is to its transport.

use std::fmt::Debug;
use std::io;

use serde::{Deserialize, Serialize};
use virtio_queue::QueueState;

use super::{Ring, balloon, blk, console, net, rng};
use crate::io_thread::IoThreadError;

/// Kinds of device that exist here (virtio 1.3 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum VirtioId {
    /// Network card, §5.1.
    Net = 1,
    /// Block device, §5.2.
    Blk = 2,
    /// Console, §5.3.
    Console = 3,
    /// Entropy source, §5.4.
    Rng = 4,
    /// Memory balloon, §5.5.
    Balloon = 5,
}

/// Why a queue did not start. The transport answers the guest with `DEVICE_NEEDS_RESET`.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The device has no such queue, or it runs already.
    #[error("queue {0} does not exist or is running")]
    NoSuchQueue(u16),
    /// The I/O thread did not take the worker.
    #[error(transparent)]
    IoThread(#[from] IoThreadError),
    /// The backend could not be set up.
    #[error("the backend of queue {queue} could not be set up")]
    Backend {
        /// Index of the queue.
        queue: u16,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// Device-specific state of a snapshot; queues are in the transport's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceState {
    /// A network card's.
    Net(net::NetState),
    /// A block device's.
    Blk(blk::BlkState),
    /// A console's.
    Console(console::ConsoleState),
    /// An entropy source's.
    Rng(rng::RngState),
    /// A memory balloon's.
    Balloon(balloon::BalloonState),
}

/// The front part of a virtio device. It lives in its transport, behind the transport's lock, and is called by vCPU
/// threads; nothing in it may wait for the guest.
pub trait VirtioDevice: Send + Debug {
    /// Which kind of device this is.
    fn id(&self) -> VirtioId;

    /// Greatest size of each queue, in queue order; powers of two up to 32768.
    fn queue_sizes(&self) -> &[u16];

    /// Device-specific feature bits offered, and which of [`super::feature`]'s ring features the device's queues
    /// can do. The transport adds `VERSION_1` and its own.
    fn features(&self) -> u64;

    /// Reads the configuration space; bytes past its end read as zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes the configuration space; writes to read-only or absent fields are ignored.
    fn write_config(&mut self, offset: u64, data: &[u8]);

    /// Starts queue `index`. `ring` holds all that the queue needs of the machine, with the negotiated features.
    ///
    /// # Errors
    /// The queue stays stopped and can be started again later.
    fn start_queue(&mut self, index: u16, ring: Ring) -> Result<(), StartError>;

    /// Stops queue `index`, waits for its work in flight, and gives back where it stands; `None` if it did not run.
    fn stop_queue(&mut self, index: u16) -> Option<QueueState>;

    /// The driver has reset queue `index`, which is stopped: whatever the device still has of it is void.
    fn forget_queue(&mut self, index: u16) {
        let _ = index;
    }

    /// Returns everything that the guest configured to what it was at power-on. All queues are stopped before.
    fn reset(&mut self);

    /// State of the device itself; queues may be running or stopped.
    fn save(&self) -> DeviceState;

    /// Takes over a saved state while all queues are stopped; false if it is another kind of device's or does not
    /// fit this one.
    fn restore(&mut self, state: &DeviceState) -> bool;
}
