//! Zeroing and discarding.
//!
//! A cluster that the image owns stays its own: its space goes back to the file system, and it
//! reads as zeroes from there. So none of this is ever in the way of a write under way.

use std::io;

use super::entry::{Cluster, Geometry, Host, Subclusters};
use super::grow::unit_bits;
use super::image::{Image, Writer};
use crate::buf::Bufs;

impl Image {
    /// Makes a range read as zeroes.
    pub(super) fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut writer = self.lock()?;
        self.each_cluster(offset, len, |at, len| {
            self.begin_change(&mut writer)?;
            self.zero_piece(&mut writer, at, len)
        })
    }

    /// Gives space back where the image has some of its own; elsewhere does nothing.
    pub(super) fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let _writer = self.lock()?;
        self.each_cluster(offset, len, |at, len| {
            let geometry = self.chain.top.geometry;
            match geometry.l2(self.chain.top.entry(geometry.cluster_of(at))?)? {
                Cluster::Data(host) if host.owned => self.punch(host, at, len),
                Cluster::Divided(Some(host), map) if host.owned => self.punch_present(host, map, at, len),
                _ => Ok(()),
            }
        })
    }

    fn each_cluster(
        &self,
        offset: u64,
        len: u64,
        mut each: impl FnMut(u64, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let geometry = self.chain.top.geometry;
        let mut done = 0;
        while done < len {
            let at = offset + done;
            let piece = (len - done).min(geometry.cluster_size() - geometry.in_cluster(at));
            each(at, piece)?;
            done += piece;
        }
        Ok(())
    }

    fn zero_piece(&self, writer: &mut Writer, at: u64, len: u64) -> io::Result<()> {
        let top = &self.chain.top;
        let geometry = top.geometry;
        let cluster = geometry.cluster_of(at);
        let whole = len == geometry.cluster_size() || geometry.in_cluster(at) == 0 && at + len == top.size;
        match geometry.l2(top.entry(cluster)?)? {
            Cluster::Data(host) if host.owned => self.punch(host, at, len),
            Cluster::Zero(_) => Ok(()),
            Cluster::Absent if !self.chain.has_backing() => Ok(()),
            Cluster::Divided(host, map) => self.zero_subclusters(writer, at, len, host, map),
            Cluster::Absent if geometry.extended => {
                self.zero_subclusters(writer, at, len, None, Subclusters::default())
            }
            Cluster::Compressed(_) if whole && geometry.extended => {
                writer.set(top, cluster, Cluster::Divided(None, Subclusters::new(0, u32::MAX)))
            }
            _ if whole && geometry.version > 2 && !geometry.extended => {
                writer.set(top, cluster, Cluster::Zero(None))
            }
            _ => self.write_zero_bytes(writer, at, len),
        }
    }

    fn zero_subclusters(
        &self,
        writer: &mut Writer,
        at: u64,
        len: u64,
        host: Option<Host>,
        map: Subclusters,
    ) -> io::Result<()> {
        let geometry = self.chain.top.geometry;
        if let Some(host) = host.filter(|host| !host.owned && map.present() != 0) {
            let _ = host;
            return self.write_zero_bytes(writer, at, len);
        }
        let unit = geometry.unit_size();
        // What is not a whole subcluster is written; only there, so that the rest stays unwritten.
        let (from, to) = (at.next_multiple_of(unit), (at + len) / unit * unit);
        if from >= to {
            return self.write_zero_bytes(writer, at, len);
        }
        if let Some(host) = host {
            self.punch_present(host, map, from, to - from)?;
        }
        let start = at - geometry.in_cluster(at);
        let zeroed = unit_bits(geometry, from - start, to - start) & !map.present();
        let map = Subclusters::new(map.present(), map.zero() | zeroed);
        writer.set(&self.chain.top, geometry.cluster_of(at), Cluster::Divided(host, map))?;
        self.write_zero_bytes(writer, at, from - at)?;
        self.write_zero_bytes(writer, to, at + len - to)
    }

    fn write_zero_bytes(&self, writer: &mut Writer, at: u64, len: u64) -> io::Result<()> {
        let mut zeroes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.write_locked(writer, at, &Bufs::borrowing(&mut zeroes))
    }

    fn punch(&self, host: Host, at: u64, len: u64) -> io::Result<()> {
        let top = &self.chain.top;
        top.storage.punch(host.offset + top.geometry.in_cluster(at), len)
    }

    /// Punches those parts of a range that subclusters have data for.
    fn punch_present(&self, host: Host, map: Subclusters, at: u64, len: u64) -> io::Result<()> {
        let geometry: Geometry = self.chain.top.geometry;
        let unit = geometry.unit_size();
        let mut done = 0;
        while done < len {
            let here = at + done;
            let piece = (len - done).min(unit - here % unit);
            let index = u32::try_from(geometry.in_cluster(here) / unit).unwrap_or(31);
            if map.present() >> index & 1 != 0 {
                self.punch(host, here, piece)?;
            }
            done += piece;
        }
        Ok(())
    }
}
