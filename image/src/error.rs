//! What can go wrong with an image.

use std::io;
use std::path::PathBuf;

use crate::reference::ReferenceError;

/// Why a file of an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference makes no sense.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A registry name, and no store to look it up in.
    #[error(
        "image {name} is not local: give the directory of local images with --images, or name an OCI layout as oci:DIR:TAG"
    )]
    NoStore {
        /// As written.
        name: String,
    },
    /// A registry name that the store does not have.
    #[error("image {name} is not in the local store: expected an OCI layout in {}", .expected.display())]
    NotInStore {
        /// As written.
        name: String,
        /// Where it was looked for.
        expected: PathBuf,
    },
    /// There is no OCI image layout in the directory.
    #[error(
        "there is no OCI image layout in {dir}; make one, e.g. with skopeo copy docker://NAME:TAG oci:{dir}:TAG",
        dir = .dir.display()
    )]
    NoLayout {
        /// Which directory.
        dir: PathBuf,
    },
    /// The directory is a broken OCI image layout.
    #[error("{} is not a usable OCI image layout: {reason}", .dir.display())]
    Layout {
        /// Which.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The layout has no such image.
    #[error("{} has no image {wanted}; it has: {present}", .dir.display())]
    NoSuchTag {
        /// Which layout.
        dir: PathBuf,
        /// The tag or digest asked for.
        wanted: String,
        /// What there is.
        present: String,
    },
    /// A blob is not what its descriptor says.
    #[error("blob {digest} in {} is corrupt: {reason}", .dir.display())]
    Blob {
        /// Which layout.
        dir: PathBuf,
        /// Which blob.
        digest: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The image has no such file.
    #[error("image {image} has no usable file {path}: {reason}")]
    NoSuchFile {
        /// Which image.
        image: String,
        /// The path asked for.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// The image is no container disk.
    #[error(
        "image {image} is not a container disk: {reason}; KubeVirt wants exactly one file in /disk, or a path"
    )]
    NotADisk {
        /// Which image.
        image: String,
        /// Why not.
        reason: String,
    },
    /// A host call failed.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ImageError {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ImageError {
        let path = path.into();
        move |source| ImageError::Io { doing, path, source }
    }
}
