//! Doorbells: guest writes that wake an I/O thread without going through the vCPU thread.

use std::fmt::Debug;
use std::io;

use vmm_sys_util::eventfd::EventFd;

/// The machine's registry of doorbells (KVM ioeventfds).
///
/// A device whose doorbell could not be registered still works: the write then reaches it as a bus write.
pub trait Doorbells: Send + Sync + Debug {
    /// From now on any guest write to the memory address `address`, whatever its size and value, signals `event`.
    fn attach(&self, address: u64, event: &EventFd) -> io::Result<()>;

    /// Undoes [`Doorbells::attach`].
    fn detach(&self, address: u64, event: &EventFd) -> io::Result<()>;
}
