//! What a process holds: memory and descriptors.

use std::fs;

use crate::failure::{Doing, Failure};

/// Memory and descriptors of a process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Resident KiB beside the largest mapping, which is the guest's memory.
    pub beside_guest_kib: u64,
    /// Resident KiB of the largest mapping.
    pub largest_kib: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Footprint {
    /// Looks at a process.
    ///
    /// # Errors
    /// If it has gone.
    pub fn of(pid: u32) -> Result<Self, Failure> {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).doing("reading smaps")?;
        let (all, largest) = resident(&smaps);
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).doing("listing descriptors")?.count();
        Ok(Self { beside_guest_kib: all.saturating_sub(largest), largest_kib: largest, descriptors })
    }
}

/// Sum and largest of the resident sizes in KiB.
fn resident(smaps: &str) -> (u64, u64) {
    let sizes = smaps.lines().filter_map(|line| line.strip_prefix("Rss:")).filter_map(|rest| {
        let number = rest.trim().strip_suffix("kB")?;
        number.trim().parse::<u64>().ok()
    });
    sizes.fold((0, 0), |(sum, largest), size| (sum.saturating_add(size), largest.max(size)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_largest_mapping_is_told_apart() {
        let smaps = "55d0-55d1 r-xp 00000000 00:00 0 /x\nSize: 16 kB\nRss:          12 kB\n\
                     7f00-7f01 rw-p\nRss:     1000 kB\nPss: 9 kB\nRss:  8 kB\n";
        assert_eq!(super::resident(smaps), (1020, 1000));
    }
}
