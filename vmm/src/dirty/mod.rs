//! Which pages of guest memory were written, by vCPUs and by devices, since somebody last asked.
//!
//! KVM notes what vCPUs write, devices mark what they write ([`ram`]), the kernel notes what it writes for a card that it serves
//! ([`Noting`]). They are told to only while there is somebody who wants to know: each [`DirtyReader`] gets its own set, so that a migration and a chain of snapshots do not take pages from each other.

mod log;
mod pages;
mod source;
#[cfg(test)]
pub(crate) mod testing;
mod touched;

pub use log::{DirtyLog, DirtyReader};
pub use pages::{OutOfMemory, PageRun, PageSet};
pub use source::{DirtyError, MachinePages, Noting};
