//! Images whose clusters all have a place before anything is written to them.

use std::fs::File;
use std::io;

use super::QcowDisk;
use super::entry::{Cluster, Host, Subclusters};
use super::image::Image;

/// Most clusters taken at a time.
const MAX_RUN: u64 = 1 << 14;

impl QcowDisk {
    /// Gives each cluster of an image that was just made a place, which reads as zeroes; returns
    /// the places, in order, as first byte and length.
    pub(crate) fn preallocate(&self) -> io::Result<Vec<(u64, u64)>> {
        let shared = self.shared()?;
        let image = &shared.image;
        let geometry = image.chain.top.geometry;
        let clusters = image.chain.top.size.div_ceil(geometry.cluster_size());
        let mut places: Vec<(u64, u64)> = Vec::new();
        let mut at = 0;
        while at < clusters {
            let (host, count) = image.take_run(at, (clusters - at).min(MAX_RUN))?;
            let (start, len) = (host << geometry.cluster_bits, count << geometry.cluster_bits);
            match places.last_mut() {
                Some((first, so_far)) if *first + *so_far == start => *so_far += len,
                _ => places.push((start, len)),
            }
            at += count;
        }
        image.flush()?;
        Ok(places)
    }

    /// The image's own file.
    pub(crate) fn file(&self) -> Option<&File> {
        self.layers.files.first().map(|target| &target.file)
    }
}

impl Image {
    /// Gives up to `most` clusters from `first` on places in a row; returns the first and how many.
    fn take_run(&self, first: u64, most: u64) -> io::Result<(u64, u64)> {
        let top = &self.chain.top;
        let mut writer = self.lock()?;
        self.begin_change(&mut writer)?;
        // Not beyond one L2 table, which is made first, so that the clusters stay in a row.
        let table = top.geometry.l2_entries();
        writer.slice(top, first)?;
        let (host, count) = writer.refcounts.allocate(most.min(table - first % table))?;
        for number in 0..count {
            let host = Host { offset: (host + number) << top.geometry.cluster_bits, owned: true };
            let cluster = if top.geometry.extended {
                Cluster::Divided(Some(host), Subclusters::new(u32::MAX, 0))
            } else {
                Cluster::Data(host)
            };
            writer.set(top, first + number, cluster)?;
        }
        Ok((host, count))
    }
}
