//! A new image over a disk that was written until now.

use std::fs;
use std::sync::{Arc, RwLock};

use super::open::Layers;
use super::{Backing, QcowDisk, State};
use crate::disk::{DiskError, DiskInfo, NewOverlay};
use crate::engine::EngineKind;
use crate::ops::{CreateOptions, Format, create};
use crate::raw::RawDisk;
use crate::target::Target;

/// A disk that is to be below an image, with its files as they are open: no moment passes without their locks.
pub(crate) struct Base {
    /// What it shows.
    pub(crate) info: DiskInfo,
    /// Its own file, and those below it.
    pub(crate) files: Vec<Arc<Target>>,
    /// What each of them is, and the bytes in it.
    pub(crate) below: Vec<(Backing, u64)>,
}

impl QcowDisk {
    /// Makes an image over `base`, and opens it as that is open.
    pub(crate) fn over(base: Base, new: &NewOverlay<'_>, engine: EngineKind) -> Result<QcowDisk, DiskError> {
        Layers::check_depth(new.named, base.below.len())?;
        let (Some(own), Some((format, _))) = (base.files.first(), base.below.first()) else {
            return Err(DiskError::NoOverlay { path: new.named.to_owned() });
        };
        let format = match format {
            Backing::Raw(_) => Format::Raw,
            Backing::Qcow2(_) => Format::Qcow2,
        };
        let options = CreateOptions {
            backing: Some((new.base.to_owned(), format)),
            ..CreateOptions::new(Format::Qcow2, base.info.size_bytes)
        };
        create(new.at, &options)?;
        let opened = RawDisk::open_alike(new.at, new.named, own, engine).and_then(|file| {
            let layers = Layers::new(&file, new.named, base.files.clone(), base.below.clone())?;
            let shared = layers.load(engine)?;
            if shared.info.logical_block_size != base.info.logical_block_size {
                let reason = "its blocks have another size than those of the disk below it";
                return Err(DiskError::Geometry { path: new.named.to_owned(), reason });
            }
            layers.top()?.sync().map_err(own.error("flush"))?;
            Ok(QcowDisk { layers, engine, state: RwLock::new(State::Here(Arc::new(shared))) })
        });
        opened.inspect_err(|_| {
            // The first error counts.
            let _ = fs::remove_file(new.at);
        })
    }
}
