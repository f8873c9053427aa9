//! What devices did, over all guests that used them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::virtio::balloon::BalloonHandle;
use devices::virtio::blk::BlkHandle;
use devices::virtio::net::NetHandle;

use super::nics;

/// Counts of a device, by their place in the tables below.
type Counts = Vec<u64>;

/// A device that is there now.
#[derive(Clone, Debug)]
pub enum Device {
    /// A disk.
    Disk(BlkHandle),
    /// A network card.
    Nic(NetHandle),
    /// The memory balloon.
    Balloon(BalloonHandle),
}

/// Kinds of devices, which have names of their own each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Disk,
    Nic,
    Balloon,
}

/// A device and those that were in its place.
type Key = (Kind, String);

impl Device {
    fn kind(&self) -> Kind {
        match self {
            Self::Disk(_) => Kind::Disk,
            Self::Nic(_) => Kind::Nic,
            Self::Balloon(_) => Kind::Balloon,
        }
    }

    fn counts(&self) -> Counts {
        match self {
            Self::Disk(disk) => {
                let counters = disk.counters();
                vec![
                    counters.reads.get(),
                    counters.read_bytes.get(),
                    counters.read_time.get(),
                    counters.writes.get(),
                    counters.written_bytes.get(),
                    counters.write_time.get(),
                    counters.flushes.get(),
                    counters.flush_time.get(),
                    counters.discards.get(),
                    counters.errors.get(),
                    counters.malformed.get(),
                ]
            }
            Self::Nic(nic) => nics::counts(nic),
            Self::Balloon(_) => Counts::new(),
        }
    }
}

/// What each count of a disk is called in a metric.
pub(super) const DISK_COUNTS: [(&str, &str, bool); 11] = [
    ("kubevirt_vmi_storage_iops_read_total", "Total number of I/O read operations.", false),
    ("kubevirt_vmi_storage_read_traffic_bytes_total", "Total number of bytes read from storage.", false),
    ("kubevirt_vmi_storage_read_times_seconds_total", "Total time spent on read operations.", true),
    ("kubevirt_vmi_storage_iops_write_total", "Total number of I/O write operations.", false),
    ("kubevirt_vmi_storage_write_traffic_bytes_total", "Total number of written bytes.", false),
    ("kubevirt_vmi_storage_write_times_seconds_total", "Total time spent on write operations.", true),
    ("kubevirt_vmi_storage_flush_requests_total", "Total storage flush requests.", false),
    ("kubevirt_vmi_storage_flush_times_seconds_total", "Total time spent on cache flushing.", true),
    ("kubevmm_disk_discards_total", "Discards and writes of zeroes.", false),
    ("kubevmm_disk_errors_total", "Requests that were refused or that the host failed.", false),
    ("kubevmm_disk_malformed_total", "Chains of the guest's driver without the form of a request.", false),
];

/// A device and what those of the same name did before it.
#[derive(Debug, Default)]
struct Entry {
    now: Option<Device>,
    before: Counts,
}

impl Entry {
    fn counts(&self) -> Counts {
        let now = self.now.as_ref().map(Device::counts).unwrap_or_default();
        let length = now.len().max(self.before.len());
        let at = |counts: &Counts, index: usize| counts.get(index).copied().unwrap_or(0);
        (0..length).map(|index| at(&self.before, index).saturating_add(at(&now, index))).collect()
    }
}

/// All devices that there are or were. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Devices(Arc<Mutex<BTreeMap<Key, Entry>>>);

impl Devices {
    /// Counts what `device` does under `name`, until what is returned is dropped.
    pub(super) fn measure(&self, name: &str, device: Device) -> Measured {
        let key = (device.kind(), name.to_owned());
        self.all().entry(key.clone()).or_default().now = Some(device);
        Measured { devices: self.clone(), key }
    }

    /// Names and counts of the disks that are there.
    pub(super) fn disks(&self) -> Vec<(String, Counts)> {
        self.of(Kind::Disk)
    }

    /// Names and counts of the network cards that are there.
    pub(super) fn nics(&self) -> Vec<(String, Counts)> {
        self.of(Kind::Nic)
    }

    /// Names of disks, and how many of their requests the host is working on.
    pub(super) fn depths(&self) -> Vec<(String, u64)> {
        let all = self.all();
        let depth = |((_, name), entry): (&Key, &Entry)| match &entry.now {
            Some(Device::Disk(disk)) => Some((name.clone(), disk.counters().in_flight())),
            _ => None,
        };
        all.iter().filter_map(depth).collect()
    }

    /// The memory balloon.
    pub(super) fn balloon(&self) -> Option<BalloonHandle> {
        self.all().values().find_map(|entry| match &entry.now {
            Some(Device::Balloon(balloon)) => Some(balloon.clone()),
            _ => None,
        })
    }

    fn of(&self, kind: Kind) -> Vec<(String, Counts)> {
        let all = self.all();
        let wanted = all.iter().filter(|((of, _), entry)| *of == kind && entry.now.is_some());
        wanted.map(|((_, name), entry)| (name.clone(), entry.counts())).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device that is counted. What it did stays counted when this is dropped: a guest's reset takes nothing away.
#[derive(Debug)]
pub struct Measured {
    devices: Devices,
    key: Key,
}

impl Drop for Measured {
    fn drop(&mut self) {
        if let Some(entry) = self.devices.all().get_mut(&self.key) {
            entry.before = entry.counts();
            entry.now = None;
        }
    }
}
