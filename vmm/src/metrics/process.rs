//! What the host's kernel tells of this process and its threads (proc(5)).

use std::fs;

/// Nanoseconds of a clock tick: USER_HZ is 100 on x86.
const TICK: u64 = 10_000_000;
/// Bytes of a page.
const PAGE: u64 = 4096;

/// Times of a thread, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadTimes {
    /// On a processor.
    pub run: u64,
    /// Ready to run, but with no processor to run on.
    pub delay: u64,
    /// Waiting for disks.
    pub wait: u64,
}

impl ThreadTimes {
    /// Those of the thread of this process with this number; nothing if it is gone.
    pub fn of(thread: u32) -> Option<Self> {
        let folder = format!("/proc/self/task/{thread}");
        let schedule = fs::read_to_string(format!("{folder}/schedstat")).ok()?;
        let mut schedule = schedule.split_ascii_whitespace().map_while(|word| word.parse().ok());
        let (run, delay) = (schedule.next()?, schedule.next()?);
        let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
        // delayacct_blkio_ticks is field 42.
        let wait = field(&stat, 42).unwrap_or(0).saturating_mul(TICK);
        Some(Self { run, delay, wait })
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            run: self.run.saturating_add(other.run),
            delay: self.delay.saturating_add(other.delay),
            wait: self.wait.saturating_add(other.wait),
        }
    }
}

/// Number of the calling thread.
pub fn this_thread() -> Option<u32> {
    let link = fs::read_link("/proc/thread-self").ok()?;
    link.file_name()?.to_str()?.parse().ok()
}

/// What is known of the process as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Nanoseconds in user mode, guests included.
    pub(super) user: u64,
    /// Nanoseconds in the kernel.
    pub(super) system: u64,
    /// Bytes that are resident, guest memory included.
    pub(super) resident: u64,
    /// Threads.
    pub(super) threads: u64,
}

impl Process {
    pub(super) fn this() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let memory = fs::read_to_string("/proc/self/statm").ok()?;
        let resident: u64 = memory.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(Self {
            user: field(&stat, 14)?.saturating_mul(TICK),
            system: field(&stat, 15)?.saturating_mul(TICK),
            resident: resident.saturating_mul(PAGE),
            threads: field(&stat, 20)?,
        })
    }
}

/// A field of `stat`, counted from 1. The second one, the name, is in parentheses and may hold anything.
fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// Open descriptors.
pub(super) fn descriptors() -> Option<u64> {
    // Reading the folder takes one.
    u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_threads_do_not_shift_fields() {
        let stat = "7 (a) 9 (b) R 1 2 3 4 5 6 7 8 9 10 77 88 11 12 20 0 5 0";
        assert_eq!((field(stat, 14), field(stat, 15), field(stat, 20)), (Some(77), Some(88), Some(5)));
        assert_eq!((field(stat, 99), field("", 14), field("7 (a)", 2)), (None, None, None));
    }

    #[test]
    fn threads_and_the_process_are_known_by_their_times() {
        let thread = this_thread().unwrap();
        let before = ThreadTimes::of(thread).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(30);
        while std::time::Instant::now() < until {}
        let after = ThreadTimes::of(thread).unwrap();
        assert!(after.run > before.run);
        assert_eq!(ThreadTimes::of(0), None);
        let process = Process::this().unwrap();
        assert!(process.resident > 0 && process.threads > 1 && descriptors().unwrap() > 0);
    }
}
