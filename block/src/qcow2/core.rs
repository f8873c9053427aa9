//! An image's tables, and what they say of a place on the disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::{Cluster, Geometry, Host, L2Place, Packed, RawEntry};
use super::error::QcowError;
use super::header::{Header, MAX_HEADER};
use super::packed::Unpacker;
use super::reserved::Reserved;
use super::slices::{Slice, Slices};
use crate::buf::Bufs;
use crate::storage::Storage;

/// What the L2 tables in memory may take: enough for 64 GiB in clusters of 64 KiB.
const CACHE_BYTES: u64 = 8 << 20;

/// One image of a chain.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) header: Header,
    pub(super) geometry: Geometry,
    pub(super) size: u64,
    pub(super) l1: Box<[AtomicU64]>,
    pub(super) slices: Slices,
    pub(super) unpacker: Unpacker,
    /// Length of the file when it was opened, and what has been added since.
    pub(super) file_len: AtomicU64,
    /// For an image that is written: where its tables are.
    pub(super) reserved: Option<Arc<Reserved>>,
}

/// What one layer has at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing: what lies below shows.
    Absent,
    Zero,
    Data {
        /// Byte in the host file.
        host: u64,
        /// Whether it may be written in place.
        owned: bool,
    },
    Packed(Packed),
}

fn read_header(storage: &dyn Storage, file_len: u64) -> io::Result<Header> {
    let mut start = vec![0; MAX_HEADER];
    storage.read_bytes(0, &mut start)?;
    start.truncate(usize::try_from(file_len).unwrap_or(MAX_HEADER));
    Ok(Header::parse(&start, file_len)?)
}

impl Core {
    /// Reads an image's header.
    pub(super) fn header(storage: &dyn Storage) -> io::Result<Header> {
        read_header(storage, storage.len()?)
    }

    /// Reads an image's header and L1 table.
    pub(super) fn open(storage: Arc<dyn Storage>) -> io::Result<Core> {
        let file_len = storage.len()?;
        let header = read_header(&*storage, file_len)?;
        let geometry = Geometry::of(&header);
        let entries = usize::try_from(header.l1_size).unwrap_or(0);
        let mut bytes = vec![0; (entries * 8).next_multiple_of(4096)];
        if entries > 0 {
            storage.read_bytes(header.l1_offset, &mut bytes)?;
        }
        let words = bytes.as_chunks::<8>().0.iter().take(entries);
        let l1: Box<[AtomicU64]> = words.map(|word| AtomicU64::new(u64::from_be_bytes(*word))).collect();
        for entry in &l1 {
            let place = geometry.l1(entry.load(Ordering::Relaxed))?;
            let inside = |place: L2Place| place.offset.saturating_add(geometry.cluster_size()) <= file_len;
            if !place.is_none_or(inside) {
                return Err(QcowError::Corrupt("an L2 table lies behind the end of the file").into());
            }
        }
        let budget = usize::try_from(CACHE_BYTES / geometry.slice_bytes()).unwrap_or(0);
        Ok(Core {
            size: header.disk_size(),
            unpacker: Unpacker::new(header.compression),
            slices: Slices::new(budget, entries as u64 * (geometry.l2_entries() / geometry.slice_entries())),
            file_len: AtomicU64::new(file_len),
            reserved: None,
            storage,
            header,
            geometry,
            l1,
        })
    }

    /// The slice that has a cluster's entry, if its L2 table exists, and the entry's index in it.
    pub(super) fn slice(&self, cluster: u64) -> io::Result<(Option<Arc<Slice>>, u64)> {
        let per_slice = self.geometry.slice_entries();
        let (key, index) = (cluster / per_slice, cluster % per_slice);
        if let Some(slice) = self.slices.get(key) {
            return Ok((Some(slice), index));
        }
        let Some(place) = self.slice_place(key)? else { return Ok((None, index)) };
        let slice = self.slices.load(key, || {
            let mut bytes = vec![0; usize::try_from(self.geometry.slice_bytes()).unwrap_or(0)];
            self.storage.read_bytes(place, &mut bytes)?;
            let slice = Slice::new(&bytes);
            if let Some(reserved) = &self.reserved {
                reserved.check(self.geometry, &slice)?;
            }
            Ok(slice)
        })?;
        Ok((Some(slice), index))
    }

    /// Where a slice is in the file.
    pub(super) fn slice_place(&self, key: u64) -> io::Result<Option<u64>> {
        let slices_per_table = self.geometry.l2_entries() / self.geometry.slice_entries();
        let (table, slice) = (key / slices_per_table, key % slices_per_table);
        let entry = usize::try_from(table).ok().and_then(|table| self.l1.get(table));
        let entry = entry.map_or(0, |entry| entry.load(Ordering::Acquire));
        let place = self.geometry.l1(entry)?;
        Ok(place.map(|place| place.offset + slice * self.geometry.slice_bytes()))
    }

    /// Where in the file the entry is of what is at `offset`, if there is a table for it.
    pub(super) fn entry_place(&self, offset: u64) -> io::Result<Option<u64>> {
        let (per_slice, cluster) = (self.geometry.slice_entries(), self.geometry.cluster_of(offset));
        let within = (cluster % per_slice) * self.geometry.words() * 8;
        Ok(self.slice_place(cluster / per_slice)?.map(|slice| slice + within))
    }

    /// A cluster's entry.
    pub(super) fn entry(&self, cluster: u64) -> io::Result<RawEntry> {
        Ok(self.stored(cluster)?.unwrap_or_default())
    }

    /// A cluster's entry, if there is a table for it.
    fn stored(&self, cluster: u64) -> io::Result<Option<RawEntry>> {
        let per_slice = self.geometry.slice_entries();
        let index = cluster % per_slice;
        if let Some(entry) = self.slices.peek(cluster / per_slice, |slice| slice.get(self.geometry, index)) {
            return Ok(Some(entry));
        }
        let (slice, index) = self.slice(cluster)?;
        Ok(slice.map(|slice| slice.get(self.geometry, index)))
    }

    /// What is at `offset`, and for how many bytes at least, at most `max`.
    pub(super) fn look_up(&self, offset: u64, max: u64) -> io::Result<(Place, u64)> {
        let geometry = self.geometry;
        let Some(entry) = self.stored(geometry.cluster_of(offset))? else {
            // Nothing as far as the table would reach: a large disk that is empty is passed over quickly.
            let reach = geometry.cluster_size() * geometry.l2_entries();
            return Ok((Place::Absent, (reach - offset % reach).min(max)));
        };
        let within = geometry.in_cluster(offset);
        let rest = geometry.cluster_size() - within;
        let data = |host: Host| Place::Data { host: host.offset + within, owned: host.owned };
        let (place, len) = match geometry.l2(entry)? {
            Cluster::Absent => (Place::Absent, rest),
            Cluster::Zero(_) => (Place::Zero, rest),
            Cluster::Data(host) => (data(host), rest),
            Cluster::Compressed(packed) => (Place::Packed(packed), rest),
            Cluster::Divided(host, map) => {
                let unit = geometry.unit_size();
                let first = u32::try_from(within / unit).unwrap_or(0);
                let kind = |index: u32| (map.present() >> index & 1, map.zero() >> index & 1);
                let same = (first..32).take_while(|&index| kind(index) == kind(first)).count() as u64;
                let place = match (kind(first), host) {
                    ((1, _), Some(host)) => data(host),
                    ((_, 1), _) => Place::Zero,
                    _ => Place::Absent,
                };
                (place, same * unit - within % unit)
            }
        };
        Ok((place, len.min(max)))
    }

    /// Copies a part of a compressed cluster. The cluster may be moved meanwhile by somebody who
    /// writes to it: then what was read is not used, and `false` is returned.
    pub(super) fn read_packed(&self, offset: u64, packed: Packed, bufs: &Bufs) -> io::Result<bool> {
        let file_len = self.file_len.load(Ordering::Acquire);
        let unpacked = self.unpacker.cluster(&*self.storage, self.geometry, file_len, packed);
        let now = self.entry(self.geometry.cluster_of(offset))?;
        if self.geometry.l2(now)? != Cluster::Compressed(packed) {
            return Ok(false);
        }
        let skip = usize::try_from(self.geometry.in_cluster(offset)).unwrap_or(usize::MAX);
        bufs.copy_in(unpacked?.get(skip..).unwrap_or_default());
        Ok(true)
    }
}
