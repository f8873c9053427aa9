//! Container images read from disk, and ISO 9660 images written in process.
//!
//! An image is named by a [`Reference`] and found by a [`Store`], which hands out single files of
//! it: a disk, a kernel. Images are foreign: sizes are bounded, blobs are checked against their
//! digests, and no path or symbolic link leads out of an image.

// What a guest or an image says must never be an index that panics.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod archive;
mod error;
pub mod iso9660;
mod names;
pub mod oci;
mod reference;
mod rootfs;
mod store;
pub mod tarball;

pub use error::ImageError;
pub use reference::{Reference, ReferenceError, Version};
pub use store::Store;
