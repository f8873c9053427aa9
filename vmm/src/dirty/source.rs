//! Where marks of written pages come from.

use std::io;
use std::sync::Arc;

use devices::GuestRam;
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
