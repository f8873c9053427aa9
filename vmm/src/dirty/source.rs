//! Where marks of written pages come from.

use std::io;
use std::sync::Arc;

use devices::GuestRam;
use devices::virtio::net::NotedWrites;
use kvm_ioctls::VmFd;
use ram::RegionMarks;
use vm_memory::GuestMemoryBackend;

use super::PageSet;
use crate::kvm::{KvmError, add_slot, take_written};
use crate::sys::memory::pass_barrier;

/// It cannot be told which pages were written.
#[derive(Debug, thiserror::Error)]
pub enum DirtyError {
    /// KVM failed.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Threads cannot be told.
    #[error("threads could not be told to mark what they write")]
    Barrier(#[source] io::Error),
    /// The kernel writes for a device and does not say what.
    #[error(
        "the kernel does not note what it writes for {name} (vhost-net): without the annotation kubevmm.io/vhost-net, kubevmm serves the card"
    )]
    Unseen {
        /// The device.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A device for which the kernel writes to guest memory by itself, and can note what.
pub trait Noting: Send + std::fmt::Debug {
    /// Has what is written to `ram` noted from now on.
    ///
    /// # Errors
    /// It cannot be.
    fn begin(&self, ram: &GuestRam) -> io::Result<()>;
    /// Has nothing noted any more.
    ///
    /// # Errors
    /// The kernel goes on.
    fn end(&self) -> io::Result<()>;
    /// Marks what was written since the last call.
    fn collect(&self);
    /// Whether the device is gone, and all marked that was written for it.
    fn is_over(&self) -> bool;
}

impl Noting for NotedWrites {
    fn begin(&self, ram: &GuestRam) -> io::Result<()> {
        self.begin(ram)
    }

    fn end(&self) -> io::Result<()> {
        self.end()
    }

    fn collect(&self) {
        self.collect();
    }

    fn is_over(&self) -> bool {
        self.is_over()
    }
}

/// Where marks come from.
pub(super) trait Source: Send + std::fmt::Debug {
    /// Has written pages noted from now on, or no longer.
    fn log(&mut self, on: bool) -> Result<(), DirtyError>;
    /// Takes the marks that there are.
    fn take(&mut self) -> Result<PageSet, DirtyError>;
}

/// The memory of a machine.
#[derive(Debug)]
pub struct MachinePages {
    // The VM goes before the memory that it uses.
    vm: Arc<VmFd>,
    ram: GuestRam,
}

impl MachinePages {
    /// Memory whose regions are the slots of `vm`, in order.
    pub fn new(vm: Arc<VmFd>, ram: GuestRam) -> Self {
        Self { vm, ram }
    }

    fn set_slots(&self, logged: bool) -> Result<(), KvmError> {
        (0..).zip(self.ram.iter()).try_for_each(|(slot, region)| add_slot(&self.vm, slot, region, logged))
    }
}

impl Source for MachinePages {
    fn log(&mut self, on: bool) -> Result<(), DirtyError> {
        self.set_slots(on)?;
        ram::log_writes(&self.ram, on);
        if on {
            // After this, no thread has a write in flight of which it does not know that it is to be marked.
            pass_barrier().map_err(DirtyError::Barrier)?;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<PageSet, DirtyError> {
        let mut pages = PageSet::none(&self.ram);
        for ((number, slot), region) in (0..).zip(0..).zip(self.ram.iter()) {
            pages.add_words(number, &take_written(&self.vm, slot, region)?);
            pages.add_words(number, &region.bitmap_of().take());
        }
        Ok(pages)
    }
}
