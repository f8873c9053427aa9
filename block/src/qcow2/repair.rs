//! Makes an image's refcounts what they should be.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::check::{Counted, Counts, count, entries};
use super::core::Core;
use super::entry::{Cluster, Geometry, RawEntry};
use super::flush::patch_header;
use super::header::{CORRUPT, DIRTY};
use super::image::Writer;
use super::refcount::Refcounts;
use super::reserved::Reserved;

/// What a repair may change, as `qemu-img check -r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Only clusters that are counted and not used.
    Leaks,
    /// All refcounts, and the marks that go by them.
    All,
}

/// Repairs an image that nobody uses. Counts that are too small are mended first, so that a crash
/// on the way leaves it no worse than it was.
pub(super) fn repair(core: &Core, what: Repair) -> io::Result<()> {
    let counted = count(core)?;
    let wrong = counted.wrong()?;
    let geometry = core.geometry;
    let end = core.file_len.load(Ordering::Relaxed).div_ceil(geometry.cluster_size());
    let reserved = Arc::new(Reserved::new(end));
    let refcounts = Refcounts::open(Arc::clone(&core.storage), &core.header, Arc::clone(&reserved), end)?;
    let mut writer = Writer {
        refcounts,
        reserved,
        new_tables: BTreeSet::new(),
        dirty_slices: 0,
        dropped: Vec::new(),
        stream_space: None,
    };
    if what == Repair::All {
        for wrong in wrong.iter().filter(|wrong| wrong.counted < wrong.used) {
            writer.refcounts.raise(wrong.cluster, wrong.used)?;
        }
        writer.flush(core)?;
        mark_owned(core, &counted.counts)?;
        core.storage.sync()?;
    }
    for wrong in wrong.iter().filter(|wrong| wrong.counted > wrong.used) {
        writer.refcounts.set(wrong.cluster, wrong.used)?;
    }
    writer.flush(core)?;
    let marks = core.header.incompatible & (DIRTY | CORRUPT);
    if what == Repair::All && marks != 0 {
        let left = (core.header.incompatible & !marks).to_be_bytes();
        patch_header(&*core.storage, geometry.cluster_size(), 72, &left)?;
        core.storage.sync()?;
    }
    Ok(())
}

/// Marks as owned what has one reference, and nothing else.
fn mark_owned(core: &Core, counts: &Counts) -> io::Result<()> {
    let geometry = core.geometry;
    let owned = |offset: u64| counts.get(geometry.cluster_of(offset)) == 1;
    let size = usize::try_from(geometry.cluster_size()).unwrap_or(0);
    let mut table = Vec::with_capacity(core.l1.len() * 8);
    for entry in &core.l1 {
        let entry = entry.load(Ordering::Relaxed);
        let Some(place) = geometry.l1(entry)? else {
            table.extend(entry.to_be_bytes());
            continue;
        };
        table.extend(Geometry::l1_mark(entry, owned(place.offset)).to_be_bytes());
        let mut bytes = vec![0; size];
        core.storage.read_bytes(place.offset, &mut bytes)?;
        let marked: Vec<u8> = entries(geometry, &bytes)
            .flat_map(|raw| {
                let RawEntry { word, bitmap } = mark(geometry, raw, &owned);
                let words = if geometry.extended { vec![word, bitmap] } else { vec![word] };
                words.into_iter().flat_map(u64::to_be_bytes)
            })
            .collect();
        if marked != bytes {
            core.storage.write_bytes(place.offset, &marked)?;
        }
    }
    let whole = size.min(4096);
    table.resize(table.len().next_multiple_of(whole), 0);
    core.storage.write_bytes(core.header.l1_offset, &table)
}

fn mark(geometry: Geometry, raw: RawEntry, owned: &impl Fn(u64) -> bool) -> RawEntry {
    // What cannot be understood stays as it is, and will be refused when it is read.
    let Ok(cluster) = geometry.l2(raw) else { return raw };
    let host = |mut host: super::entry::Host| {
        host.owned = owned(host.offset);
        host
    };
    Geometry::l2_entry(match cluster {
        Cluster::Data(data) => Cluster::Data(host(data)),
        Cluster::Zero(data) => Cluster::Zero(data.map(host)),
        Cluster::Divided(data, map) => Cluster::Divided(data.map(host), map),
        other => other,
    })
}

/// A cluster whose refcount is not what it should be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrong {
    pub(super) cluster: u64,
    pub(super) used: u64,
    pub(super) counted: u64,
}

impl Counted<'_> {
    fn wrong(&self) -> io::Result<Vec<Wrong>> {
        let mut wrong = Vec::new();
        self.each(|cluster, used, counted| {
            if used != counted {
                wrong.push(Wrong { cluster, used, counted });
            }
        })?;
        Ok(wrong)
    }
}
