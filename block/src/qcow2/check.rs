//! Whether an image's tables agree with each other: what refers to each cluster, against its refcount.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use super::core::Core;
use super::entry::{Cluster, Geometry, RawEntry};
use super::error::QcowError;
use super::image::host;
use super::refcount::read_count;

/// Clusters counted together.
const PAGE: u64 = 4096;
/// Most pages of counts: enough for 64 TiB of data in clusters of 64 KiB, in 1 GiB of memory.
const MAX_PAGES: usize = 1 << 16;

/// What a check found. Fields are named as in `qemu-img check --output=json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Places where data may be lost or overwritten.
    pub corruptions: u64,
    /// Clusters that take up space and are not used.
    pub leaks: u64,
    /// Clusters of the disk.
    pub total_clusters: u64,
    /// Those that have data in the file.
    pub allocated_clusters: u64,
    /// Those whose data is compressed.
    pub compressed_clusters: u64,
    /// Those that do not lie behind the one before in the same table, or are compressed.
    pub fragmented_clusters: u64,
    /// Bytes from which on nothing in the file is used.
    pub image_end_offset: u64,
}

/// How often each cluster is referred to.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<u64, Box<[u32]>>);

impl Counts {
    fn add(&mut self, first: u64, clusters: u64) -> io::Result<()> {
        for cluster in first..first.saturating_add(clusters) {
            if self.0.len() >= MAX_PAGES {
                return Err(QcowError::Unsupported("an image of this size".into(), " by the check").into());
            }
            let page = self.0.entry(cluster / PAGE).or_insert_with(|| vec![0; 4096].into());
            let count = usize::try_from(cluster % PAGE).ok().and_then(|at| page.get_mut(at));
            if let Some(count) = count {
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, cluster: u64) -> u64 {
        let page = self.0.get(&(cluster / PAGE));
        let count = page.and_then(|page| page.get(usize::try_from(cluster % PAGE).ok()?));
        count.copied().unwrap_or(0).into()
    }
}

/// An image's refcounts as they are in the file.
struct Stored<'a> {
    core: &'a Core,
    table: Vec<u64>,
    /// The block looked at last.
    last: Option<(u64, Vec<u8>)>,
}

impl Stored<'_> {
    fn per_block(&self) -> u64 {
        (self.core.geometry.cluster_size() * 8) >> self.core.header.refcount_order
    }

    fn get(&mut self, cluster: u64) -> io::Result<u64> {
        let (index, within) = (cluster / self.per_block(), cluster % self.per_block());
        if self.last.as_ref().is_none_or(|(last, _)| *last != index) {
            let place = usize::try_from(index).ok().and_then(|index| self.table.get(index)).copied();
            let mut bytes = Vec::new();
            if let Some(place) = place.filter(|&place| place != 0) {
                bytes = vec![0; usize::try_from(self.core.geometry.cluster_size()).unwrap_or(0)];
                self.core.storage.read_bytes(place, &mut bytes)?;
            }
            self.last = Some((index, bytes));
        }
        let block = self.last.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        Ok(read_count(block, self.core.header.refcount_order, within))
    }
}

/// An image's references, counted.
pub(super) struct Counted<'a> {
    pub(super) counts: Counts,
    stored: RefCell<Stored<'a>>,
    report: CheckReport,
}

/// Checks an image that nobody is writing.
pub(super) fn check(core: &Core) -> io::Result<CheckReport> {
    let counted = count(core)?;
    let mut report = counted.report;
    counted.each(|cluster, used, counted| {
        report.corruptions += u64::from(counted < used);
        report.leaks += u64::from(counted > used);
        if used > 0 || counted > 0 {
            report.image_end_offset = (cluster + 1) << core.geometry.cluster_bits;
        }
    })?;
    Ok(report)
}

/// Counts what refers to each cluster, and what is wrong with the references themselves.
pub(super) fn count(core: &Core) -> io::Result<Counted<'_>> {
    let header = &core.header;
    for (present, what) in
        [(header.snapshots > 0, "internal snapshots"), (header.has_bitmaps, "dirty bitmaps")]
    {
        if present {
            return Err(QcowError::Unsupported(what.to_owned(), " by the check").into());
        }
    }
    let geometry = core.geometry;
    let size = geometry.cluster_size();
    let mut report = CheckReport { total_clusters: core.size.div_ceil(size), ..CheckReport::default() };
    let mut counts = Counts::default();
    counts.add(0, 1)?;
    counts.add(geometry.cluster_of(header.l1_offset), (u64::from(header.l1_size) * 8).div_ceil(size))?;
    counts.add(geometry.cluster_of(header.reftable_offset), header.reftable_clusters.into())?;

    let mut stored = Stored { core, table: read_table(core)?, last: None };
    for &place in stored.table.iter().filter(|&&place| place != 0) {
        if geometry.in_cluster(place) == 0 {
            counts.add(geometry.cluster_of(place), 1)?;
        } else {
            report.corruptions += 1;
        }
    }
    for entry in &core.l1 {
        let Some(place) = geometry.l1(entry.load(std::sync::atomic::Ordering::Relaxed))? else { continue };
        let cluster = geometry.cluster_of(place.offset);
        counts.add(cluster, 1)?;
        report.corruptions += u64::from((stored.get(cluster)? == 1) != place.owned);
        check_table(core, place.offset, &mut counts, &mut stored, &mut report)?;
    }
    Ok(Counted { counts, stored: RefCell::new(stored), report })
}

fn read_table(core: &Core) -> io::Result<Vec<u64>> {
    let len = u64::from(core.header.reftable_clusters) << core.geometry.cluster_bits;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    core.storage.read_bytes(core.header.reftable_offset, &mut bytes)?;
    Ok(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word)).collect())
}

fn check_table(
    core: &Core,
    place: u64,
    counts: &mut Counts,
    stored: &mut Stored<'_>,
    report: &mut CheckReport,
) -> io::Result<()> {
    let geometry = core.geometry;
    let mut bytes = vec![0; usize::try_from(geometry.cluster_size()).unwrap_or(0)];
    core.storage.read_bytes(place, &mut bytes)?;
    let mut previous = 0;
    for raw in entries(geometry, &bytes) {
        let Ok(cluster) = geometry.l2(raw) else {
            report.corruptions += 1;
            continue;
        };
        match (cluster, host(cluster)) {
            (Cluster::Compressed(packed), _) => {
                let offset = packed.offset(geometry);
                let first = geometry.cluster_of(offset);
                let last = geometry.cluster_of(offset + packed.len(geometry) - 1);
                counts.add(first, last - first + 1)?;
                report.allocated_clusters += 1;
                report.compressed_clusters += 1;
                // QEMU counts each of these, as they never lie in rows of whole clusters.
                report.fragmented_clusters += 1;
            }
            (_, Some(host)) => {
                let place = geometry.cluster_of(host.offset);
                counts.add(place, 1)?;
                report.corruptions += u64::from((stored.get(place)? == 1) != host.owned);
                report.allocated_clusters += 1;
                report.fragmented_clusters += u64::from(previous != 0 && place != previous + 1);
                previous = place;
            }
            (_, None) => {}
        }
    }
    Ok(())
}

/// The entries of a table's bytes.
pub(super) fn entries(geometry: Geometry, bytes: &[u8]) -> impl Iterator<Item = RawEntry> + '_ {
    let words = bytes.as_chunks::<8>().0;
    let step = if geometry.extended { 2 } else { 1 };
    let word = |word: Option<&[u8; 8]>| word.map_or(0, |word| u64::from_be_bytes(*word));
    words.chunks(step).map(move |entry| RawEntry { word: word(entry.first()), bitmap: word(entry.get(1)) })
}

impl Counted<'_> {
    /// Gives each cluster that may be used or counted, how often it is used, and its refcount.
    pub(super) fn each(&self, mut give: impl FnMut(u64, u64, u64)) -> io::Result<()> {
        let mut stored = self.stored.borrow_mut();
        let per_block = stored.per_block();
        let blocks = (0u64..).zip(&stored.table).filter(|(_, place)| **place != 0);
        let mut ranges: Vec<(u64, u64)> =
            blocks.map(|(index, _)| (index * per_block, (index + 1) * per_block)).collect();
        ranges.extend(self.counts.0.keys().map(|page| (page * PAGE, (page + 1) * PAGE)));
        ranges.sort_unstable();
        let file_end = stored.core.storage.len()?.div_ceil(stored.core.geometry.cluster_size());
        let mut next = 0;
        for (first, end) in ranges {
            for cluster in next.max(first)..end {
                let (used, mut counted) = (self.counts.get(cluster), stored.get(cluster)?);
                if cluster >= file_end {
                    // What is counted behind the end of the file takes up no space.
                    counted = counted.min(used);
                }
                give(cluster, used, counted);
            }
            next = next.max(end);
        }
        Ok(())
    }
}
