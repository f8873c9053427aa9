//! What lies below the qcow2 image of a claim, once a snapshot has left its disks where they are.
//!
//! An image's header may name any file of the host, and images come from anybody. So a name counts only if it is that of a base
//! ([`is_base`]), which is in the image's own folder, and what a base is its name says, not the header and not its contents.

use std::path::Path;

use block::DiskError;
use block::ops::{self, Format};
use block::qcow2::Backing;
use spec::resolve::images::is_base;

/// The backing files of the qcow2 image at `path`, the nearest first. A name that does not count is left out; the image is refused
/// for it when it is opened.
pub(crate) fn below(path: &Path) -> Result<Vec<Backing>, DiskError> {
    /// Longer chains are refused in any case.
    const MOST: usize = 64;
    let mut all: Vec<Backing> = Vec::new();
    let mut image = path.to_owned();
    while all.len() < MOST {
        let info = ops::info(&image, Format::Qcow2)?;
        let name = info.qcow2.and_then(|summary| summary.backing_filename).filter(|name| is_base(name));
        let Some(name) = name else { break };
        let base = image.with_file_name(&name);
        if !name.ends_with(".qcow2") {
            all.push(Backing::Raw(base));
            break;
        }
        all.push(Backing::Qcow2(base.clone()));
        image = base;
    }
    Ok(all)
}
