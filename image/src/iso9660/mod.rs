//! Small ISO 9660 images, written in memory: cloud-init seeds, ConfigMaps, Secrets.
//!
//! Each image has three sets of names for the same files: ISO 9660 level 1 names with Rock Ridge
//! fields, which Linux reads, and Joliet, which Windows reads. The same input always gives the same bytes.

mod bytes;
mod names;
mod rock_ridge;
#[cfg(test)]
mod tests;
mod tree;
mod volume;

use names::Flavor;
use rock_ridge::Continuation;
use tree::Tree;
use volume::Extent;

/// Bytes in a logical sector (ECMA-119 §6.1.2).
const SECTOR: usize = 2048;
/// Largest image written: these are built in memory.
const MAX_IMAGE: u64 = 1 << 30;
/// Longest label (ECMA-119 §8.4.7). Joliet has room for its first sixteen characters.
const MAX_LABEL: usize = 32;

/// A file for an image.
#[derive(Clone, Copy, Debug)]
pub struct IsoFile<'a> {
    /// Its path, with `/` between directories, such as `openstack/latest/user_data`.
    pub path: &'a str,
    /// Its contents.
    pub contents: &'a [u8],
}

/// Why an image cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsoError {
    /// The label does not fit.
    #[error("the volume label {0:?} must be 1 to 32 printable ASCII characters")]
    Label(String),
    /// A path cannot be a file's.
    #[error("{path:?} cannot be the path of a file: {reason}")]
    Path {
        /// Which.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// Too much for one image.
    #[error("the files are too large for a disk made in memory (1 GiB at most)")]
    TooLarge,
}

/// Makes an image called `label` of `files`.
///
/// # Errors
/// When label or paths cannot be written down, or the image would be too large.
pub fn image(label: &str, files: &[IsoFile<'_>]) -> Result<Vec<u8>, IsoError> {
    let tree = checked(label, files)?;
    let views = [Flavor::Primary, Flavor::Joliet].map(|flavor| names::view(&tree, flavor));
    let mut layout = volume::Layout::default();
    // Lengths do not depend on places: the first time round finds the lengths, and so the places.
    let mut parts = volume::parts(&tree, &views, &layout)?;
    layout = volume::Layout::place(&tree, &parts)?;
    parts = volume::parts(&tree, &views, &layout)?;
    volume::assemble(label, &tree, &parts, &layout)
}

/// Says whether an image called `label` can be made of `files`, without making it.
///
/// # Errors
/// As [`image`].
pub fn check(label: &str, files: &[IsoFile<'_>]) -> Result<(), IsoError> {
    checked(label, files).map(drop)
}

fn checked<'a>(label: &str, files: &[IsoFile<'a>]) -> Result<Tree<'a>, IsoError> {
    let printable = label.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if label.is_empty() || label.len() > MAX_LABEL || !printable {
        return Err(IsoError::Label(label.to_owned()));
    }
    let total: u64 = files.iter().map(|file| file.contents.len() as u64 + SECTOR as u64).sum();
    if total > MAX_IMAGE {
        return Err(IsoError::TooLarge);
    }
    Tree::new(files)
}

/// Sectors that hold `len` bytes.
fn sectors(len: usize) -> Result<u32, IsoError> {
    u32::try_from(len.div_ceil(SECTOR)).map_err(|_| IsoError::TooLarge)
}
