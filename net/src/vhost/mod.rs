//! `/dev/vhost-net`: the kernel moves frames between a guest's queues and a tap by itself.
//!
//! It is one process less between guest and host, but a larger piece of the kernel that a guest talks to directly: nothing
//! looks at its headers, filters its frames, limits or counts them. So it is there only for those who ask for it.
#![expect(unsafe_code, reason = "the kernel is given memory by its addresses, for which the caller vouches")]

mod log;
mod sys;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use log::WriteLog;

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
    /// Used ring, address in the guest.
    pub used_guest: u64,
}

/// How a queue is told of its driver's notifications, and tells the driver.
#[derive(Clone, Copy, Debug)]
pub struct Signals<'a> {
    /// An eventfd: the driver made buffers available.
    pub kick: BorrowedFd<'a>,
    /// An eventfd: the driver should be interrupted.
    pub call: BorrowedFd<'a>,
}

/// Feature bit by which the kernel is told to note what it writes (`VHOST_F_LOG_ALL`). It is none of the driver's.
const LOG_ALL: u64 = 1 << 26;

/// The kernel's worker of one queue pair.
#[derive(Debug)]
pub struct VhostNet {
    // Closed before what the kernel notes its writes in is given up.
    file: File,
    told: Mutex<Told>,
}

/// What the kernel was told.
#[derive(Debug, Default)]
struct Told {
    /// Guest memory.
    memory: Vec<Region>,
    /// Features of the driver.
    features: u64,
    /// Queues that run, by [`Side`].
    queues: [Option<Layout>; 2],
    /// Where it notes what it writes.
    log: Option<Arc<WriteLog>>,
}

impl Told {
    fn queue(&mut self, side: Side) -> &mut Option<Layout> {
        let [receive, transmit] = &mut self.queues;
        match side {
            Side::Receive => receive,
            Side::Transmit => transmit,
        }
    }

    fn all_features(&self) -> u64 {
        self.features | if self.log.is_some() { LOG_ALL } else { 0 }
    }
}

impl VhostNet {
    /// Opens the device, which starts a worker in the kernel.
    ///
    /// # Errors
    /// The device is not there (module `vhost_net`), or this process may not use it.
    pub fn open() -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(sys::DEVICE)?;
        sys::set_owner(&file)?;
        Ok(Self { file, told: Mutex::default() })
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
        let mut told = self.told();
        if told.memory != memory {
            sys::set_memory(&self.file, memory)?;
            told.memory.clear();
            told.memory.extend_from_slice(memory);
        }
        told.features = features;
        sys::set_features(&self.file, told.all_features())?;
        sys::set_queue(&self.file, side as u32, layout, told.log.is_some())?;
        sys::set_signals(&self.file, side as u32, &signals)?;
        self.connect(side, Some(tap))?;
        *told.queue(side) = Some(*layout);
        Ok(())
    }

    /// Has the kernel note what it writes to guest memory in `log` from now on, or no longer. It notes it after it has written
    /// it, and all of it before a queue has stopped.
    ///
    /// # Errors
    /// What the kernel says: it notes nothing then.
    pub fn log_to(&self, log: Option<Arc<WriteLog>>) -> io::Result<()> {
        let mut told = self.told();
        self.end_log(&mut told)?;
        let Some(new) = log else { return Ok(()) };
        // SAFETY: the log lives until the kernel has been told to note nothing, or is not asked any more (`end_log`).
        unsafe { sys::set_log(&self.file, new.words())? };
        told.log = Some(new);
        self.follow_log(&told).inspect_err(|_| {
            // Where this fails, the log is kept.
            let _ = self.end_log(&mut told);
        })
    }

    /// Has the kernel note nothing any more, and gives up the log.
    fn end_log(&self, told: &mut Told) -> io::Result<()> {
        let Some(log) = told.log.take() else { return Ok(()) };
        // Both wait for what a worker is doing.
        self.follow_log(told).inspect_err(|_| told.log = Some(log))
    }

    /// Tells the kernel to note what it writes, or not, as `told` says.
    fn follow_log(&self, told: &Told) -> io::Result<()> {
        if told.memory.is_empty() {
            // The first queue tells it.
            return Ok(());
        }
        sys::set_features(&self.file, told.all_features())?;
        for (index, layout) in (0..).zip(&told.queues) {
            if let Some(layout) = layout {
                sys::set_rings(&self.file, index, layout, told.log.is_some())?;
            }
        }
        Ok(())
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
        *self.told().queue(side) = None;
        sys::next(&self.file, side as u32)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
