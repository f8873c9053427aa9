//! Clocks and timers of the kernel, and processors of threads.

use std::fs::File;
use std::io::{self, Read};
use std::mem::{size_of, zeroed};
use std::os::fd::FromRawFd;
use std::ptr::null_mut;
use std::time::Duration;

/// A clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It never goes back, and is not set.
    Monotonic,
    /// The time of day.
    Realtime,
}

/// What a clock shows.
///
/// # Errors
/// The kernel's.
pub fn read(clock: Clock) -> io::Result<Duration> {
    let id = match clock {
        Clock::Monotonic => libc::CLOCK_MONOTONIC,
        Clock::Realtime => libc::CLOCK_REALTIME,
    };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`.
    check(unsafe { libc::clock_gettime(id, &raw mut time) })?;
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Ok(Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0)))
}

/// A timer that expires again and again.
#[derive(Debug)]
pub struct Timer(File);

impl Timer {
    /// Expires at each multiple of `period` after `start`, of the monotonic clock.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(start: Duration, period: Duration) -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) };
        check(fd.min(0))?;
        // SAFETY: the call succeeded, so `fd` is open and nobody else's.
        let timer = Self(unsafe { File::from_raw_fd(fd) });
        let times = libc::itimerspec { it_value: timespec(start + period), it_interval: timespec(period) };
        // SAFETY: the call reads one `itimerspec`, and writes none as there is no place for it.
        check(unsafe { libc::timerfd_settime(fd, libc::TFD_TIMER_ABSTIME, &raw const times, null_mut()) })?;
        Ok(timer)
    }

    /// Waits until it has expired; how often since this was asked last.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&mut self) -> io::Result<u64> {
        let mut count = [0; 8];
        self.0.read_exact(&mut count)?;
        Ok(u64::from_ne_bytes(count))
    }
}

/// Has this thread run on one processor alone.
///
/// # Errors
/// The kernel's, such as that there is no such processor.
pub fn stay_on(processor: usize) -> io::Result<()> {
    // SAFETY: all zeroes are a set without processors.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the macro changes nothing but the set, and leaves numbers out that it has no room for.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: the call reads one set of the length that is given.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_expires_as_often_as_its_period_has_passed() {
        let (start, period) = (read(Clock::Monotonic).unwrap(), Duration::from_millis(1));
        let mut timer = Timer::new(start, period).unwrap();
        let mut total = 0;
        while total < 20 {
            total += timer.wait().unwrap();
        }
        let passed = read(Clock::Monotonic).unwrap() - start;
        assert!(u128::from(total) <= passed.as_millis(), "{total} in {passed:?}");
    }
}
