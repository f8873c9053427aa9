//! Clusters that hold the image's own tables: no guest data may be there.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use super::entry::{Cluster, Geometry};
use super::error::QcowError;
use super::slices::Slice;

/// Kept for images that are written. An image that has data where its tables are would let a guest
/// write its tables.
#[derive(Debug)]
pub(super) struct Reserved {
    clusters: RwLock<HashSet<u64>>,
    /// The first cluster that has never been used. What refers to it or beyond is wrong.
    end: AtomicU64,
}

impl Reserved {
    pub(super) fn new(end: u64) -> Reserved {
        Reserved { clusters: RwLock::new(HashSet::new()), end: AtomicU64::new(end) }
    }

    /// Reserves clusters for a table. They must not be a table's already.
    pub(super) fn add(&self, first: u64, count: u64) -> Result<(), QcowError> {
        let mut clusters = self.clusters.write().unwrap_or_else(PoisonError::into_inner);
        for cluster in first..first.saturating_add(count) {
            if !clusters.insert(cluster) {
                return Err(QcowError::Corrupt("two of its tables overlap"));
            }
        }
        Ok(())
    }

    pub(super) fn remove(&self, first: u64, count: u64) {
        let mut clusters = self.clusters.write().unwrap_or_else(PoisonError::into_inner);
        for cluster in first..first.saturating_add(count) {
            clusters.remove(&cluster);
        }
    }

    pub(super) fn contains(&self, cluster: u64) -> bool {
        self.clusters.read().unwrap_or_else(PoisonError::into_inner).contains(&cluster)
    }

    pub(super) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Checks that no entry of a slice that comes from the file refers to a table.
    pub(super) fn check(&self, geometry: Geometry, slice: &Slice) -> io::Result<()> {
        let clusters = self.clusters.read().unwrap_or_else(PoisonError::into_inner);
        let end = self.end.load(Ordering::Acquire);
        for index in 0..geometry.slice_entries() {
            let host = match geometry.l2(slice.get(geometry, index))? {
                Cluster::Data(host) | Cluster::Zero(Some(host)) | Cluster::Divided(Some(host), _) => {
                    host.offset
                }
                _ => continue,
            };
            let cluster = geometry.cluster_of(host);
            if cluster >= end || clusters.contains(&cluster) {
                return Err(QcowError::Corrupt("data lies on one of its tables or behind its end").into());
            }
        }
        Ok(())
    }
}
