//! A descriptor that wakes whoever delivers answers: at once when there is one, and at times by itself.
#![expect(
    unsafe_code,
    reason = "timers of the kernel have no safe interface; this is the module made for them"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// A timer that is never read: whoever watches it for edges is woken by every expiry.
#[derive(Debug)]
pub(super) struct Bell {
    timer: OwnedFd,
    period: Duration,
}

impl Bell {
    /// A bell that rings by itself, too, whenever nobody did so for `period`.
    pub(super) fn new(period: Option<Duration>) -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let fd =
            unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made, and nobody else knows of it.
        let timer = unsafe { OwnedFd::from_raw_fd(fd) };
        let bell = Self { timer, period: period.unwrap_or_default() };
        bell.arm(bell.period);
        Ok(bell)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    pub(super) fn ring(&self) {
        self.arm(Duration::from_nanos(1));
    }

    /// Rings in a while, or never if that is no time at all.
    fn arm(&self, first: Duration) {
        let time = |duration: Duration| libc::timespec {
            tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(duration.subsec_nanos()),
        };
        let times = libc::itimerspec { it_interval: time(self.period), it_value: time(first) };
        // SAFETY: the timer is open, `times` outlives the call, and the old times are not asked for. It cannot fail
        // with times like these.
        unsafe { libc::timerfd_settime(self.timer.as_raw_fd(), 0, &raw const times, ptr::null_mut()) };
    }
}
