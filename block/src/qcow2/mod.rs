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
mod overlay;
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
use std::sync::{Arc, PoisonError, RwLock};

use self::core::Place;
use chain::Found;
pub use check::CheckReport;
pub(crate) use create::NewImage;
pub use error::QcowError;
pub use header::Compression;
use image::Image;
use open::Layers;
pub use open::{Backing, QcowOptions};
pub(crate) use overlay::Base;
pub(crate) use pack::Packer;
pub use repair::Repair;
pub(crate) use resize::resize_file;
pub use summary::QcowSummary;
pub(crate) use summary::{check_file, repair_file, summary};

use crate::disk::{Disk, DiskError, DiskInfo, DiskQueue, NewOverlay, Stretch};
use crate::engine::EngineKind;
use crate::host_file::HostFile;
use crate::ops::ExtentKind;
use crate::queue::FormatQueue;
use crate::target::Target;

/// A qcow2 disk.
#[derive(Debug)]
pub struct QcowDisk {
    layers: Layers,
    engine: EngineKind,
    state: RwLock<State>,
}

/// Whose the image is at a time.
#[derive(Debug)]
enum State {
    /// Another process's, which may be changing it: nothing of its tables is known here, only what the disk looks like.
    Away(DiskInfo),
    /// This one's.
    Here(Arc<Shared>),
}

#[derive(Debug)]
struct Shared {
    image: Image,
    /// The files of the chain's layers, in their order.
    files: Vec<Arc<Target>>,
    info: DiskInfo,
    engine: EngineKind,
}

/// Flushes that leave nothing to be written: the first may free clusters, the next says so in the file.
const FLUSHES: usize = 3;

impl QcowDisk {
    /// What is known of the image while it is this process's.
    fn shared(&self) -> io::Result<Arc<Shared>> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Here(shared) => Ok(Arc::clone(shared)),
            State::Away(_) => Err(io::Error::other("the image was given to another process")),
        }
    }

    /// What is at a place, and for how many bytes, at most `max`.
    pub(crate) fn extent(&self, offset: u64, max: u64) -> io::Result<(ExtentKind, u64)> {
        let (found, len) = self.shared()?.image.chain.find(offset, max)?;
        let kind = match found {
            Found::Zero { layer, present } => ExtentKind::Zero { depth: layer, present },
            Found::Data { layer, host, .. } => ExtentKind::Data { depth: layer, offset: host },
            Found::Packed { layer, .. } => ExtentKind::Compressed { depth: layer },
        };
        Ok((kind, len))
    }
}

impl Shared {
    /// Writes all that is known only here.
    fn settle(&self) -> io::Result<()> {
        for _ in 0..FLUSHES {
            self.image.flush()?;
            if !self.image.is_dirty() {
                return Ok(());
            }
        }
        Err(io::Error::other("it changes while it is given up"))
    }
}

impl Disk for QcowDisk {
    fn info(&self) -> DiskInfo {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Here(shared) => shared.info,
            State::Away(info) => *info,
        }
    }

    fn refresh(&self) -> Result<DiskInfo, DiskError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Away(info) = &mut *state {
            *info = self.layers.glance()?;
        }
        drop(state);
        Ok(self.info())
    }

    fn open_queue(&self, depth: u16) -> Result<Box<dyn DiskQueue>, DiskError> {
        let shared = self.shared().map_err(DiskError::Queue)?;
        Ok(Box::new(FormatQueue::open(&shared, shared.engine, depth, shared.files.clone())?))
    }

    fn stretch(&self, offset: u64, max: u64) -> io::Result<(Stretch, u64)> {
        let (kind, len) = self.extent(offset, max)?;
        let stretch = match kind {
            ExtentKind::Zero { depth: 0, .. } => Stretch::Zeroes,
            ExtentKind::Data { depth: 0, .. } | ExtentKind::Compressed { depth: 0 } => Stretch::Data,
            _ => Stretch::Base,
        };
        Ok((stretch, len))
    }

    fn sync(&self) -> Result<(), DiskError> {
        // What another process has, nobody has written to here.
        let Ok(shared) = self.shared() else { return Ok(()) };
        shared.image.flush().map_err(self.layers.top()?.error("flush"))
    }

    fn hold(&self) -> Result<(), DiskError> {
        let file = self.layers.top()?;
        file.hold()?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Away(_) = *state {
            match self.layers.load(self.engine) {
                Ok(shared) => *state = State::Here(Arc::new(shared)),
                Err(error) => {
                    // The image is not used here: others may have it.
                    file.let_go()?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn let_go(&self) -> Result<(), DiskError> {
        let file = self.layers.top()?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Here(shared) = &*state
            && shared.image.is_writable()
        {
            // Else what is dropped here later would be written over what another process has made of the image.
            shared.settle().map_err(file.error("flush"))?;
            let info = shared.info;
            *state = State::Away(info);
        }
        file.let_go()
    }

    fn overlay(&self, new: &NewOverlay<'_>) -> Result<Arc<dyn Disk>, DiskError> {
        let top = self.layers.top()?;
        let shared = self.shared().map_err(top.error("read"))?;
        // What lies above reads the tables in the file.
        shared.settle().map_err(top.error("flush"))?;
        let own = (Backing::Qcow2(top.path.clone()), self.layers.own_bytes());
        let below = std::iter::once(own).chain(self.layers.below().iter().cloned()).collect();
        let base = Base { info: shared.info, files: self.layers.files.clone(), below };
        Ok(Arc::new(QcowDisk::over(base, new, self.engine)?))
    }

    fn lend(&self) -> Result<(), DiskError> {
        self.layers.top()?.lend()
    }

    fn places(&self, offset: u64) -> io::Result<Vec<u64>> {
        let shared = self.shared()?;
        let top = &shared.image.chain.top;
        let byte = match top.look_up(offset, 1)?.0 {
            Place::Data { host, .. } => Some(host),
            _ => None,
        };
        Ok(top.entry_place(offset)?.into_iter().chain(byte).collect())
    }

    fn host_file(&self) -> Option<HostFile> {
        self.layers.files.first().map(HostFile::of)
    }

    fn bases(&self) -> Vec<HostFile> {
        self.layers.files.iter().skip(1).map(HostFile::of).collect()
    }
}
