//! qcow2 images, versions 2 and 3.
//!
//! An image may come from anybody: every offset and size in it is checked before it is used, it
//! names no file that is opened (a backing file is opened only if the caller names one), and its
//! format is never guessed.

mod chain;
mod core;
mod entry;
mod error;
mod flush;
mod grow;
mod header;
mod image;
mod open;
mod packed;
mod queue;
mod refcount;
mod reserved;
mod slices;
#[cfg(test)]
mod tests;
mod zero;

use std::sync::Arc;

pub use error::QcowError;
pub use header::Compression;
use image::Image;
pub use open::{Backing, QcowOptions};

use crate::disk::{Disk, DiskError, DiskInfo, DiskQueue};
use crate::engine::EngineKind;
use crate::target::Target;

/// A qcow2 disk.
#[derive(Debug)]
pub struct QcowDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    image: Image,
    /// The files of the chain's layers, in their order.
    files: Vec<Arc<Target>>,
    info: DiskInfo,
    engine: EngineKind,
}

impl Disk for QcowDisk {
    fn info(&self) -> DiskInfo {
        self.shared.info
    }

    fn open_queue(&self, depth: u16) -> Result<Box<dyn DiskQueue>, DiskError> {
        Ok(Box::new(queue::QcowQueue::open(Arc::clone(&self.shared), depth)?))
    }

    fn sync(&self) -> Result<(), DiskError> {
        let Some(file) = self.shared.files.first() else { return Ok(()) };
        self.shared.image.flush().map_err(file.error("flush"))
    }
}
