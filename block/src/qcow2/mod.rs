//! qcow2 images, versions 2 and 3.
//!
//! An image may come from anybody: every offset and size in it is checked before it is used, it
//! names no file that is opened (a backing file is opened only if the caller names one), and its
//! format is never guessed.

mod chain;
mod check;
mod core;
mod create;
mod entry;
mod error;
mod flush;
mod grow;
mod header;
mod image;
mod open;
mod pack;
mod packed;
mod preallocate;
mod queue;
mod refcount;
mod repair;
mod reserved;
mod resize;
mod slices;
mod summary;
#[cfg(test)]
pub(crate) mod tests;
mod zero;

use std::io;
use std::sync::Arc;

use chain::Found;
pub use check::CheckReport;
pub(crate) use create::NewImage;
pub use error::QcowError;
pub use header::Compression;
use image::Image;
pub use open::{Backing, QcowOptions};
pub(crate) use pack::Packer;
pub use repair::Repair;
pub(crate) use resize::resize_file;
pub use summary::QcowSummary;
pub(crate) use summary::{check_file, repair_file, summary};

use crate::disk::{Disk, DiskError, DiskInfo, DiskQueue};
use crate::engine::EngineKind;
use crate::ops::ExtentKind;
use crate::queue::FormatQueue;
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

impl QcowDisk {
    /// What is at a place, and for how many bytes, at most `max`.
    pub(crate) fn extent(&self, offset: u64, max: u64) -> io::Result<(ExtentKind, u64)> {
        let (found, len) = self.shared.image.chain.find(offset, max)?;
        let kind = match found {
            Found::Zero { layer, present } => ExtentKind::Zero { depth: layer, present },
            Found::Data { layer, host, .. } => ExtentKind::Data { depth: layer, offset: host },
            Found::Packed { layer, .. } => ExtentKind::Compressed { depth: layer },
        };
        Ok((kind, len))
    }
}

impl Disk for QcowDisk {
    fn info(&self) -> DiskInfo {
        self.shared.info
    }

    fn open_queue(&self, depth: u16) -> Result<Box<dyn DiskQueue>, DiskError> {
        let shared = &self.shared;
        Ok(Box::new(FormatQueue::open(shared, shared.engine, depth, shared.files.clone())?))
    }

    fn sync(&self) -> Result<(), DiskError> {
        let Some(file) = self.shared.files.first() else { return Ok(()) };
        self.shared.image.flush().map_err(file.error("flush"))
    }

    fn hold(&self) -> Result<(), DiskError> {
        self.shared.files.first().map_or(Ok(()), |file| file.hold())
    }

    fn let_go(&self) -> Result<(), DiskError> {
        self.shared.files.first().map_or(Ok(()), |file| file.let_go())
    }
}
