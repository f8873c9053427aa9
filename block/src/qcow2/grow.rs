//! Writes that need more than a write: to clusters that the image does not own yet.

use std::io;

use super::entry::{Cluster, Geometry, Host, Subclusters};
use super::image::{Image, Writer};
use crate::buf::Bufs;

/// Most clusters taken at a time.
const MAX_RUN: u64 = 1024;

impl Image {
    /// Writes, wherever it may be.
    pub(super) fn write(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        let mut writer = self.lock()?;
        self.begin_change(&mut writer)?;
        self.write_locked(&mut writer, offset, bufs)
    }

    pub(super) fn write_locked(&self, writer: &mut Writer, offset: u64, bufs: &Bufs) -> io::Result<()> {
        let geometry = self.chain.top.geometry;
        let total = bufs.total_len();
        let mut done = 0;
        while done < total {
            let at = offset + done;
            let within = geometry.in_cluster(at);
            let len = (total - done).min(geometry.cluster_size() - within);
            let cluster = geometry.cluster_of(at);
            let entry = geometry.l2(self.chain.top.entry(cluster)?)?;
            done += match entry {
                Cluster::Data(host) if host.owned => {
                    self.chain.top.storage.write(host.offset + within, &bufs.part(done, len))?;
                    len
                }
                Cluster::Zero(Some(host)) if host.owned => {
                    self.write_kept(writer, at, host, &bufs.part(done, len))?;
                    len
                }
                _ if geometry.extended => {
                    self.write_subclusters(writer, at, entry, &bufs.part(done, len))?;
                    len
                }
                _ => self.write_new(writer, at, &bufs.part(done, total - done))?,
            };
        }
        Ok(())
    }

    /// Writes to a cluster that is zero and has a place kept for it.
    fn write_kept(&self, writer: &mut Writer, at: u64, host: Host, bufs: &Bufs) -> io::Result<()> {
        let top = &self.chain.top;
        let geometry = top.geometry;
        // What is there is not known; until the entry changes, nobody reads it.
        top.storage.punch(host.offset, geometry.cluster_size())?;
        top.storage.write(host.offset + geometry.in_cluster(at), bufs)?;
        writer.set(top, geometry.cluster_of(at), Cluster::Data(host))
    }

    /// Writes the start of `bufs` to new clusters, as many as can be had in a row; returns the bytes written.
    fn write_new(&self, writer: &mut Writer, at: u64, bufs: &Bufs) -> io::Result<u64> {
        let top = &self.chain.top;
        let geometry = top.geometry;
        let first = geometry.cluster_of(at);
        let last = geometry.cluster_of(at + bufs.total_len() - 1);
        let wanted = self.count_unowned(first, last.min(first + MAX_RUN - 1))?;
        // First the table, so that the clusters taken stay in a row.
        writer.slice(top, first)?;
        let (host, count) = writer.refcounts.allocate(wanted)?;
        let place = host << geometry.cluster_bits;
        let end = (first + count) << geometry.cluster_bits;
        let len = bufs.total_len().min(end - at);
        if let Err(error) = self.fill(at, place, &bufs.part(0, len)) {
            // The space goes back; the first error counts.
            let _ = writer.refcounts.give_back(host, count);
            return Err(error);
        }
        for number in 0..count {
            let host = Host { offset: (host + number) << geometry.cluster_bits, owned: true };
            writer.set(top, first + number, Cluster::Data(host))?;
        }
        Ok(len)
    }

    /// How many clusters from `first` on, at most to `last`, need a new place.
    fn count_unowned(&self, first: u64, last: u64) -> io::Result<u64> {
        let geometry = self.chain.top.geometry;
        let mut count = 1;
        for cluster in first + 1..=last {
            match geometry.l2(self.chain.top.entry(cluster)?)? {
                Cluster::Data(Host { owned: true, .. }) | Cluster::Zero(Some(Host { owned: true, .. })) => {
                    break;
                }
                _ => count += 1,
            }
        }
        Ok(count)
    }

    /// Puts `bufs`, and around them what the disk shows now, into new clusters starting at `place`.
    fn fill(&self, at: u64, place: u64, bufs: &Bufs) -> io::Result<()> {
        let top = &self.chain.top;
        let geometry = top.geometry;
        let head = geometry.in_cluster(at);
        let end = at + bufs.total_len();
        let tail = end.next_multiple_of(geometry.cluster_size()) - end;
        top.storage.write(place + head, bufs)?;
        self.copy_old(at - head, head, place)?;
        self.copy_old(end, tail.min(top.size.saturating_sub(end)), place + head + bufs.total_len())
    }

    /// Copies what the disk shows to a place that is zero now.
    fn copy_old(&self, at: u64, len: u64, place: u64) -> io::Result<()> {
        if len == 0 || !self.may_show(at)? {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.chain.read(at, &Bufs::borrowing(&mut bytes))?;
        self.chain.top.storage.write_bytes(place, &bytes)
    }

    /// Whether a cluster can show anything but zeroes.
    fn may_show(&self, at: u64) -> io::Result<bool> {
        let geometry = self.chain.top.geometry;
        Ok(match geometry.l2(self.chain.top.entry(geometry.cluster_of(at))?)? {
            Cluster::Absent => self.chain.has_backing(),
            Cluster::Zero(_) => false,
            Cluster::Data(_) | Cluster::Compressed(_) | Cluster::Divided(..) => true,
        })
    }

    /// Writes within one cluster of an image with subclusters, by whole subclusters.
    fn write_subclusters(&self, writer: &mut Writer, at: u64, entry: Cluster, bufs: &Bufs) -> io::Result<()> {
        let top = &self.chain.top;
        let geometry = top.geometry;
        let start = at - geometry.in_cluster(at);
        let end = at + bufs.total_len();
        let (kept, map) = match entry {
            Cluster::Divided(host, map) => (host.filter(|host| host.owned), map),
            _ => (None, Subclusters::default()),
        };
        // A cluster that moves takes along what it has: all of it.
        let moves = kept.is_none() && !matches!(entry, Cluster::Absent | Cluster::Divided(None, _));
        let unit = if moves { geometry.cluster_size() } else { geometry.unit_size() };
        let (from, to) = (at / unit * unit, end.next_multiple_of(unit));
        let bytes = self.merged(from, to, at, bufs)?;
        let (place, taken) = match kept {
            Some(host) => (host.offset, None),
            None => {
                writer.slice(top, geometry.cluster_of(at))?;
                let (cluster, _) = writer.refcounts.allocate(1)?;
                (cluster << geometry.cluster_bits, Some(cluster))
            }
        };
        if let Err(error) = top.storage.write_bytes(place + (from - start), &bytes) {
            if let Some(cluster) = taken {
                // The space goes back; the first error counts.
                let _ = writer.refcounts.give_back(cluster, 1);
            }
            return Err(error);
        }
        let written = unit_bits(geometry, from - start, to - start);
        let map = Subclusters::new(map.present() | written, map.zero() & !written);
        let host = Host { offset: place, owned: true };
        writer.set(top, geometry.cluster_of(at), Cluster::Divided(Some(host), map))
    }

    /// What `from..to` shows, with `bufs` at `at`.
    fn merged(&self, from: u64, to: u64, at: u64, bufs: &Bufs) -> io::Result<Vec<u8>> {
        let end = at + bufs.total_len();
        let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0)];
        let all = Bufs::borrowing(&mut bytes);
        let size = self.chain.top.size;
        self.chain.read(from, &all.part(0, at - from))?;
        if end < size {
            self.chain.read(end, &all.part(end - from, to.min(size) - end))?;
        }
        let skip = usize::try_from(at - from).unwrap_or(usize::MAX);
        bufs.copy_out(bytes.get_mut(skip..).unwrap_or_default());
        Ok(bytes)
    }
}

/// Bits of the subclusters that lie in `from..to` of a cluster.
pub(super) fn unit_bits(geometry: Geometry, from: u64, to: u64) -> u32 {
    let unit = geometry.unit_size();
    (from.div_ceil(unit)..to / unit)
        .fold(0, |bits, index| bits | 1u32.checked_shl(u32::try_from(index).unwrap_or(32)).unwrap_or(0))
}
