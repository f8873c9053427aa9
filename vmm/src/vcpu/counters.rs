//! What a vCPU's thread counts.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use kvm_ioctls::VcpuExit;

use crate::metrics::{ThreadTimes, is_ready, this_thread};

/// Why a vCPU returned from the guest to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Exit {
    /// The guest reads a port.
    PortRead,
    /// The guest writes to a port.
    PortWrite,
    /// The guest reads memory that a device answers for.
    MemoryRead,
    /// The guest writes to memory that a device answers for.
    MemoryWrite,
    /// The thread was kicked.
    Kicked,
    /// Anything else.
    Other,
}

impl Exit {
    /// The reason of an exit.
    pub(super) fn of(exit: &Result<VcpuExit<'_>, kvm_ioctls::Error>) -> Self {
        match exit {
            Ok(VcpuExit::IoIn(..)) => Self::PortRead,
            Ok(VcpuExit::IoOut(..)) => Self::PortWrite,
            Ok(VcpuExit::MmioRead(..)) => Self::MemoryRead,
            Ok(VcpuExit::MmioWrite(..)) => Self::MemoryWrite,
            Ok(VcpuExit::Intr) | Err(_) => Self::Kicked,
            Ok(_) => Self::Other,
        }
    }
}

/// Their names in metrics, in order.
const NAMES: [&str; 6] = ["port_read", "port_write", "memory_read", "memory_write", "kicked", "other"];

/// Counters of one vCPU, over resets of the guest. Its thread is the only one that writes them, so that counting takes no
/// locked instruction; a cache line of their own keeps others from slowing it down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct VcpuCounters {
    exits: [AtomicU64; NAMES.len()],
    /// Number of the thread, 0 while there is none.
    thread: AtomicU32,
    run: AtomicU64,
    delay: AtomicU64,
    wait: AtomicU64,
}

impl VcpuCounters {
    /// Counts an exit; to be called on the vCPU's thread only.
    pub(super) fn count(&self, exit: Exit) {
        if let Some(counter) = self.exits.get(exit as usize) {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// The calling thread is the vCPU's from now on.
    pub(super) fn enter(&self) {
        self.thread.store(this_thread().unwrap_or(0), Ordering::Release);
    }

    /// The calling thread ends; what it took stays counted.
    pub(super) fn leave(&self) {
        let all = self.times();
        self.thread.store(0, Ordering::Release);
        self.run.store(all.run, Ordering::Release);
        self.delay.store(all.delay, Ordering::Release);
        self.wait.store(all.wait, Ordering::Release);
    }

    /// Reasons of exits and how often there were such.
    pub fn exits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.iter().zip(&self.exits).map(|(name, count)| (*name, count.load(Ordering::Relaxed)))
    }

    /// Whether the vCPU's thread runs, or lacks nothing but a processor.
    pub(super) fn is_ready(&self) -> bool {
        match self.thread.load(Ordering::Acquire) {
            0 => false,
            thread => is_ready(thread),
        }
    }

    /// Times of the vCPU's threads, all together.
    pub fn times(&self) -> ThreadTimes {
        let load = |time: &AtomicU64| time.load(Ordering::Acquire);
        let before = ThreadTimes { run: load(&self.run), delay: load(&self.delay), wait: load(&self.wait) };
        match self.thread.load(Ordering::Acquire) {
            0 => before,
            thread => before.plus(ThreadTimes::of(thread).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_threads_took_stays_counted_when_they_end() {
        let counters = VcpuCounters::default();
        let work = || {
            counters.enter();
            counters.count(Exit::MemoryWrite);
            assert!(counters.is_ready());
            let until = Instant::now() + Duration::from_millis(30);
            while Instant::now() < until {}
            counters.leave();
        };
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap();
        let first = counters.times();
        assert!(first.run > 0 && !counters.is_ready());
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap();
        assert!(counters.times().run > first.run);
        let all: Vec<_> = counters.exits().collect();
        assert_eq!(all[3], ("memory_write", 2));
        assert_eq!(all.iter().map(|(_, count)| count).sum::<u64>(), 2);
    }
}
