//! What is measured with requests.

use std::path::{Path, PathBuf};

/// What requests do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Read what is there, from the host's memory if it has it.
    Read,
    /// Read what is not in the host's memory.
    ReadCold,
    /// Write where something is.
    Overwrite,
    /// Write where nothing is, in order.
    Allocate,
    /// Read all over a disk of 64 GiB.
    Spread,
    /// Write all over a disk of 64 GiB, each cluster for the first time.
    SpreadAllocate,
}

/// A line of the table.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) place: &'static str,
    pub(super) work: Work,
    pub(super) format: &'static str,
    /// Bytes of a request.
    pub(super) size: u64,
    pub(super) depth: u32,
    /// The image.
    pub(super) path: PathBuf,
}

const GIB: u64 = 1 << 30;

impl Case {
    pub(super) fn name(&self) -> String {
        let work = match self.work {
            Work::Read => "read",
            Work::ReadCold => "read, cold",
            Work::Overwrite => "overwrite",
            Work::Allocate => "allocating write",
            Work::Spread => "read, 64 GiB spread",
            Work::SpreadAllocate => "allocating write, 64 GiB spread",
        };
        format!("{} {} {work} {}k depth {}", self.place, self.format, self.size >> 10, self.depth)
    }

    /// How many times qemu-img's rate is wanted.
    pub(super) fn wanted(&self) -> f64 {
        let cpu_limited = self.place == "tmpfs" && self.format == "qcow2";
        match self.work {
            Work::Read | Work::Overwrite | Work::Spread if cpu_limited && self.size < 64 << 10 => 1.5,
            _ => 1.0,
        }
    }

    /// Size of the disk.
    pub(super) fn disk_size(&self) -> u64 {
        match self.work {
            Work::Spread | Work::SpreadAllocate => 64 * GIB,
            _ => GIB,
        }
    }

    /// Whether there is something everywhere before it begins.
    pub(super) fn is_filled(&self) -> bool {
        !matches!(self.work, Work::Allocate | Work::SpreadAllocate)
    }

    pub(super) fn writes(&self) -> bool {
        matches!(self.work, Work::Overwrite | Work::Allocate | Work::SpreadAllocate)
    }

    /// From one request's start to the next one's: odd numbers of requests, so that all of the disk
    /// is met, in no order that read-ahead knows.
    pub(super) fn step(&self) -> u64 {
        match self.work {
            Work::Allocate => self.size,
            Work::Read | Work::ReadCold | Work::Overwrite => self.size * 4_093,
            Work::Spread => (64 << 10) * 16_381 + self.size,
            Work::SpreadAllocate => (64 << 10) * 16_381,
        }
    }

    /// Requests in all.
    pub(super) fn count(&self) -> u64 {
        let large = self.size >= 64 << 10;
        match (self.work, self.place) {
            (Work::Allocate, _) => GIB / self.size / if large { 2 } else { 4 },
            (Work::SpreadAllocate, _) => 12_000,
            (_, "tmpfs") => {
                if large {
                    20_000
                } else {
                    200_000
                }
            }
            (_, _) => match (large, self.depth) {
                (false, 1) => 4_000,
                (false, _) => 40_000,
                (true, 1) => 2_000,
                (true, _) => 6_000,
            },
        }
    }
}

/// All of them for files in a folder.
pub(super) fn all(place: &'static str, folder: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut works = vec![Work::Read, Work::Overwrite, Work::Allocate, Work::Spread, Work::SpreadAllocate];
    if place == "disk" {
        works.insert(0, Work::ReadCold);
    }
    for work in works {
        for (size, depth) in [(4096, 1), (4096, 64), (64 << 10, 1), (64 << 10, 64)] {
            // The spread is about tables, which larger requests meet no more often.
            if matches!(work, Work::Spread | Work::SpreadAllocate) && size > 4096 {
                continue;
            }
            for format in ["raw", "qcow2"] {
                let path = folder.join(format!("image.{format}"));
                cases.push(Case { place, work, format, size, depth, path });
            }
        }
    }
    cases
}
