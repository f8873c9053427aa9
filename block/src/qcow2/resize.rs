//! Larger and smaller disks.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::chain::Chain;
use super::core::Core;
use super::entry::Cluster;
use super::error::QcowError;
use super::flush::patch_header;
use super::header::Header;
use super::image::{Image, Writer};
use super::open::{open_error, zero_padded};
use crate::disk::DiskError;
use crate::raw::RawDisk;
use crate::storage::Storage;

/// Changes the size of an image's disk. The file is open for writing, and locked.
///
/// # Errors
/// When the image is not one that can be written, or the new size is too large.
pub(crate) fn resize_file(file: &RawDisk, path: &Path, size: u64) -> Result<(), DiskError> {
    let target = zero_padded(file)?;
    resize(target as Arc<dyn Storage>, size).map_err(|error| open_error(path, error))
}

fn resize(storage: Arc<dyn Storage>, size: u64) -> io::Result<()> {
    let refuse = |what: &str, why| Err(QcowError::Unsupported(what.to_owned(), why).into());
    let image = Image::writable(Chain { top: Core::open(storage)?, below: Vec::new() })?;
    let top = &image.chain.top;
    if size < top.size {
        return shrink(&image, size);
    }
    if top.header.backing.is_some() {
        return refuse("a backing file", " by resize: it might show in the part that is new");
    }
    let entries = Header::l1_needed(top.header.cluster_bits, top.geometry.extended, size);
    if entries * 8 > 32 << 20 {
        return Err(QcowError::Header("its clusters are too small for a disk of the new size").into());
    }
    zero_tail(top)?;
    let mut writer = image.lock()?;
    let old = (top.header.l1_offset, u64::from(top.header.l1_size));
    let (mut l1_offset, mut l1_size) = old;
    if entries > l1_size {
        (l1_offset, l1_size) = (new_table(&mut writer, top, entries)?, entries);
    }
    writer.flush(top)?;
    // Size and table change together, in one write of the header's block.
    let mut fields = size.to_be_bytes().to_vec();
    fields.extend(0u32.to_be_bytes());
    fields.extend(u32::try_from(l1_size).unwrap_or(u32::MAX).to_be_bytes());
    fields.extend(l1_offset.to_be_bytes());
    patch_header(&*top.storage, top.geometry.cluster_size(), 24, &fields)?;
    top.storage.sync()?;
    if l1_offset != old.0 {
        let (first, count) = (top.geometry.cluster_of(old.0), clusters(top, old.1));
        writer.reserved.remove(first, count);
        writer.refcounts.release(first, count)?;
    }
    writer.flush(top)
}

/// Makes the disk smaller. What lies behind its new end is let go first: if the power fails then, it has still its old
/// size, and zeroes there.
fn shrink(image: &Image, size: u64) -> io::Result<()> {
    let top = &image.chain.top;
    let geometry = top.geometry;
    let mut writer = image.lock()?;
    let mut at = size.next_multiple_of(geometry.cluster_size());
    while at < top.size {
        let cluster = geometry.cluster_of(at);
        if geometry.l2(top.entry(cluster)?)? == Cluster::Absent {
            // As far as there is no table, all at once.
            at += top.look_up(at, u64::MAX)?.1;
            continue;
        }
        image.begin_change(&mut writer)?;
        writer.set(top, cluster, Cluster::Absent)?;
        at += geometry.cluster_size();
    }
    writer.flush(top)?;
    patch_header(&*top.storage, geometry.cluster_size(), 24, &size.to_be_bytes())?;
    top.storage.sync()?;
    writer.flush(top)
}

fn clusters(core: &Core, entries: u64) -> u64 {
    (entries * 8).div_ceil(core.geometry.cluster_size())
}

/// Copies the L1 table to a place with room for more.
fn new_table(writer: &mut Writer, core: &Core, entries: u64) -> io::Result<u64> {
    /// A row of clusters may end where a block of refcounts does; the next one starts behind it.
    const TRIES: u32 = 3;
    let wanted = clusters(core, entries);
    for _ in 0..TRIES {
        let (first, count) = writer.refcounts.allocate(wanted)?;
        if count < wanted {
            writer.refcounts.release(first, count)?;
            continue;
        }
        let mut bytes: Vec<u8> =
            core.l1.iter().flat_map(|entry| entry.load(Ordering::Relaxed).to_be_bytes()).collect();
        bytes.resize(usize::try_from(wanted * core.geometry.cluster_size()).unwrap_or(0), 0);
        let place = first * core.geometry.cluster_size();
        core.storage.write_bytes(place, &bytes)?;
        return Ok(place);
    }
    Err(QcowError::Unsupported("so many small clusters".into(), " by resize").into())
}

/// Zeroes what lies behind the old end in its last cluster: it is about to be seen.
fn zero_tail(core: &Core) -> io::Result<()> {
    let geometry = core.geometry;
    let within = geometry.in_cluster(core.header.size);
    if within == 0 {
        return Ok(());
    }
    match geometry.l2(core.entry(geometry.cluster_of(core.header.size))?)? {
        Cluster::Data(host) | Cluster::Divided(Some(host), _) if host.owned => {
            core.storage.punch(host.offset + within, geometry.cluster_size() - within)
        }
        Cluster::Absent | Cluster::Zero(_) | Cluster::Divided(None, _) => Ok(()),
        _ => {
            Err(QcowError::Unsupported("a last cluster that is compressed or shared".into(), " by resize")
                .into())
        }
    }
}
