//! What the host's kernel tells of this process and its threads (proc(5)).

use std::fs::{self, File};
use std::io::{BufRead, BufReader};

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

/// Whether the thread of this process with this number runs, or lacks nothing but a processor (`R` of proc(5)).
pub fn is_ready(thread: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
    stat.is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" R")))
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

/// Bytes that are resident beside the guest's memory, which is what this process keeps out of its core dumps.
pub(super) fn overhead() -> Option<u64> {
    beside_guest(BufReader::new(File::open("/proc/self/smaps").ok()?))
}

/// Adds up the mappings of `smaps` that are not the guest's memory: those lack the flag `dd`, "do not include in core dump".
fn beside_guest(mut smaps: impl BufRead) -> Option<u64> {
    let (mut kib, mut of_mapping, mut line) = (0u64, 0u64, String::new());
    while smaps.read_line(&mut line).ok()? > 0 {
        if let Some(size) = line.strip_prefix("Rss:") {
            of_mapping = size.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        } else if let Some(flags) = line.strip_prefix("VmFlags:") {
            // It comes last of what is said of a mapping.
            let is_guest = flags.split_ascii_whitespace().any(|flag| flag == "dd");
            kib = kib.saturating_add(if is_guest { 0 } else { of_mapping });
        }
        line.clear();
    }
    Some(kib.saturating_mul(1024))
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
    fn the_guests_memory_is_no_overhead() {
        let smaps = "00400000-00401000 r-xp 00000000 00:00 0 /x\nRss:          12 kB\nVmFlags: rd ex mr mw me\n\
                     7f00-7f01 rw-p\nRss:     1000 kB\nPss: 9 kB\nVmFlags: rd wr mr mw me nr dd\n\
                     7f02-7f03 rw-p\nRss:     8 kB\nVmFlags: rd wr\n";
        assert_eq!(beside_guest(smaps.as_bytes()), Some(20 << 10));
        assert_eq!(beside_guest("Rss: nonsense\n".as_bytes()), None);
        // Other tests may have given much back in between.
        let fits = || {
            let (own, all) = (overhead().unwrap(), Process::this().unwrap().resident);
            own > 0 && own <= all.saturating_add(8 << 20)
        };
        assert!((0..100).any(|_| fits()), "{:?} of {:?}", overhead(), Process::this());
    }

    #[test]
    fn who_waits_for_something_is_not_ready() {
        let (tell, told) = std::sync::mpsc::channel();
        let (wake, sleep) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::spawn(move || {
            tell.send(this_thread().unwrap()).unwrap();
            sleep.recv()
        });
        let thread = told.recv().unwrap();
        while is_ready(thread) {
            std::thread::yield_now();
        }
        assert!(is_ready(this_thread().unwrap()));
        drop(wake);
        sleeper.join().unwrap().unwrap_err();
        assert!(!is_ready(u32::MAX));
    }

    #[test]
    fn threads_and_the_process_are_known_by_their_times() {
        let thread = this_thread().unwrap();
        let before = ThreadTimes::of(thread).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while ThreadTimes::of(thread).unwrap().run == before.run && std::time::Instant::now() < end {}
        assert!(ThreadTimes::of(thread).unwrap().run > before.run);
        assert_eq!(ThreadTimes::of(0), None);
        let process = Process::this().unwrap();
        assert!(process.resident > 0 && process.threads > 1 && descriptors().unwrap() > 0);
    }
}
