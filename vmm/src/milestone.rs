//! Time stamps of a machine's life, from the start of the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

/// Points that every run passes, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Milestone {
    /// Manifests were read and admitted.
    Parsed,
    /// Every address and file was decided.
    Planned,
    /// All files, taps and sockets are open.
    Opened,
    /// Memory, devices and kernel are in place.
    Built,
    /// The first vCPU enters the guest.
    FirstInstruction,
    /// The guest wrote to its serial console.
    FirstConsoleByte,
    /// The guest ended.
    GuestExit,
}

const ALL: [(Milestone, &str); 7] = [
    (Milestone::Parsed, "parsed"),
    (Milestone::Planned, "planned"),
    (Milestone::Opened, "opened"),
    (Milestone::Built, "built"),
    (Milestone::FirstInstruction, "firstInstruction"),
    (Milestone::FirstConsoleByte, "firstConsoleByte"),
    (Milestone::GuestExit, "guestExit"),
];

/// When each milestone was reached for the first time.
#[derive(Debug)]
pub struct Milestones {
    start: Instant,
    /// Nanoseconds since `start`; 0 while not reached.
    stamps: [AtomicU64; ALL.len()],
}

impl Milestones {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { start: Instant::now(), stamps: Default::default() }
    }

    /// Notes that `milestone` is reached, unless it was before.
    pub fn reach(&self, milestone: Milestone) {
        self.reach_at(milestone, Instant::now());
    }

    /// Notes that `milestone` was reached at `when`, unless it was before.
    pub fn reach_at(&self, milestone: Milestone, when: Instant) {
        let since = when.saturating_duration_since(self.start);
        let now = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1);
        if let Some(stamp) = self.stamps.get(milestone as usize) {
            let _ = stamp.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Whether `milestone` was reached.
    pub fn has_reached(&self, milestone: Milestone) -> bool {
        self.stamps.get(milestone as usize).is_some_and(|stamp| stamp.load(Ordering::Acquire) != 0)
    }

    /// Names and nanoseconds of the milestones that were reached.
    pub fn reached(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ALL.iter().zip(&self.stamps).filter_map(|((_, name), stamp)| {
            let nanoseconds = stamp.load(Ordering::Acquire);
            (nanoseconds != 0).then_some((*name, nanoseconds))
        })
    }

    /// One line a milestone, in milliseconds.
    pub fn table(&self) -> String {
        let line = |(name, ns): (&str, u64)| format!("{name:>17} {:>12.3} ms\n", ns as f64 / 1e6);
        self.reached().map(line).collect()
    }
}

impl Serialize for Milestones {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.reached())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_time_counts_and_order_is_kept() {
        let milestones = Milestones::start();
        milestones.reach(Milestone::Parsed);
        let first: Vec<_> = milestones.reached().collect();
        milestones.reach(Milestone::Parsed);
        milestones.reach(Milestone::Built);
        let all: Vec<_> = milestones.reached().collect();
        assert_eq!(all[0], first[0]);
        assert_eq!(all[1].0, "built");
        assert!(all[1].1 >= all[0].1);
        assert!(milestones.table().contains("parsed"));
    }
}
