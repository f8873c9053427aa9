//! Address spaces of the guest: which device answers at which port or memory address.

mod action;
mod space;
mod window;

pub use action::{Action, Panic, Remap, Space};
pub use space::{Bus, BusError};
pub use window::Window;

/// A device that answers reads and writes of a range of ports or memory addresses.
///
/// Both methods take `&self`: a device is shared by all vCPUs and keeps its own lock where it needs one. Accesses
/// are guest-controlled in offset, size and value, so neither method may panic.
pub trait BusDevice: Send + Sync {
    /// Fills `data` (1, 2, 4 or 8 bytes) from `offset` bytes past the start of the range.
    fn read(&self, offset: u64, data: &mut [u8]);

    /// Writes `data` (1, 2, 4 or 8 bytes) at `offset` bytes past the start of the range and says what the machine
    /// has to do about it.
    fn write(&self, offset: u64, data: &[u8]) -> Action;
}
