//! `/dev/vhost-net`: the kernel moves frames between a guest's queues and a tap by itself.
//!
//! It is one process less between guest and host, but a larger piece of the kernel that a guest talks to directly: nothing
//! looks at its headers, filters its frames, limits or counts them. So it is there only for those who ask for it.
#![expect(unsafe_code, reason = "the kernel is given memory by its addresses, for which the caller vouches")]

mod sys;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;

/// The two queues of a pair, by the numbers that the kernel gives them (`VHOST_NET_VQ_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Side {
    /// Host to guest.
    Receive = 0,
    /// Guest to host.
    Transmit = 1,
}

/// A piece of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Address in the guest.
    pub guest: u64,
    /// Address in this process.
    pub host: u64,
    /// Bytes.
    pub len: u64,
}

/// Where a queue is, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Descriptors: a power of two.
    pub size: u16,
    /// Number of the next chain to take.
    pub next: u16,
    /// Descriptor table, address in this process.
    pub descriptors: u64,
    /// Available ring, address in this process.
    pub available: u64,
    /// Used ring, address in this process.
    pub used: u64,
}

/// How a queue is told of its driver's notifications, and tells the driver.
#[derive(Clone, Copy, Debug)]
pub struct Signals<'a> {
    /// An eventfd: the driver made buffers available.
    pub kick: BorrowedFd<'a>,
    /// An eventfd: the driver should be interrupted.
    pub call: BorrowedFd<'a>,
}

/// The kernel's worker of one queue pair.
#[derive(Debug)]
pub struct VhostNet {
    file: File,
    /// What the kernel was told of guest memory.
    memory: Mutex<Vec<Region>>,
}

impl VhostNet {
    /// Opens the device, which starts a worker in the kernel.
    ///
    /// # Errors
    /// The device is not there (module `vhost_net`), or this process may not use it.
    pub fn open() -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(sys::DEVICE)?;
        sys::set_owner(&file)?;
        Ok(Self { file, memory: Mutex::default() })
    }

    /// Feature bits of virtio that the kernel's queues know of; those of the card itself are the tap's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn features(&self) -> io::Result<u64> {
        sys::features(&self.file)
    }

    /// Starts a queue between the guest and `tap`.
    ///
    /// # Errors
    /// What the kernel says; the queue stays stopped.
    ///
    /// # Safety
    /// `memory` must be mapped for as long as the queue runs, `layout` lie within it, and no Rust reference be held to
    /// any of it: the kernel reads and writes it at any time until [`VhostNet::stop`].
    pub unsafe fn start(
        &self,
        side: Side,
        features: u64,
        memory: &[Region],
        layout: &Layout,
        signals: Signals<'_>,
        tap: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut known = self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *known != memory {
            sys::set_memory(&self.file, memory)?;
            known.clear();
            known.extend_from_slice(memory);
        }
        sys::set_features(&self.file, features)?;
        sys::set_queue(&self.file, side as u32, layout)?;
        sys::set_signals(&self.file, side as u32, &signals)?;
        self.connect(side, Some(tap))
    }

    /// Lets a started queue work with `tap`, or with nothing for a while.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn connect(&self, side: Side, tap: Option<BorrowedFd<'_>>) -> io::Result<()> {
        sys::set_backend(&self.file, side as u32, tap)
    }

    /// Has a queue signal another eventfd instead of [`Signals::call`]; when this returns, nothing is written to the one
    /// before any more.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_call(&self, side: Side, call: BorrowedFd<'_>) -> io::Result<()> {
        sys::set_call(&self.file, side as u32, call)
    }

    /// Stops a queue, once its work in flight is done; gives back the number of the next chain to take, up to which all
    /// have been returned.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn stop(&self, side: Side) -> io::Result<u16> {
        self.connect(side, None)?;
        sys::next(&self.file, side as u32)
    }
}
