//! Disks: formats and I/O engines, free of virtio.
//!
//! A [`Disk`] is opened once; every queue of a device opens its own [`DiskQueue`] on it and is
//! then on its own: no lock is shared between queues on the data path. Requests carry pointers
//! into memory owned by someone else ([`IoBuf`]), so that data goes straight from and to guest
//! pages. Nothing here trusts its caller's ranges: every request is checked against the disk.

// What a guest or an image says must never be an index that panics.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod blocking;
pub mod buf;
pub mod cow;
mod disk;
mod engine;
mod gather;
mod host_file;
mod lock;
mod marks;
pub mod ops;
pub mod qcow2;
mod queue;
pub mod raw;
mod storage;
mod sys;
mod target;

pub use blocking::Blocking;
pub use buf::{Bufs, IoBuf};
pub use cow::CowDisk;
pub use disk::{
    Completion, DiscardLimits, Disk, DiskError, DiskInfo, DiskQueue, NewOverlay, Request, Stretch,
    SubmitError, WriteZeroesLimits,
};
pub use engine::EngineKind;
pub use host_file::{HostFile, Identity, modified};
pub use marks::{GRAIN, MarkedDisk, Marks, Written};
pub use qcow2::{QcowDisk, QcowOptions};
pub use raw::{CacheMode, RawDisk, RawOptions};
