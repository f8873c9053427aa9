//! Waiting for a few descriptors at once.
#![expect(unsafe_code, reason = "poll has no safe wrapper in our dependencies")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// That there is something to read.
    Read,
    /// That there is room to write.
    Write,
}

/// Waits until one of `all` has what it is waited for or can never have it, or `limit` is over. Says of each whether it has.
/// Without a limit it waits for ever; a limit is rounded up to whole milliseconds, so that it has passed when nothing has
/// happened.
///
/// # Errors
/// As poll(2); a signal in between is none.
pub fn wait<const N: usize>(
    all: [(&dyn AsRawFd, Interest); N],
    limit: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut polls = all.map(|(fd, interest)| {
        let events = match interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
        };
        libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }
    });
    let milliseconds =
        limit.map_or(-1, |limit| i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
    let count = libc::nfds_t::try_from(N).unwrap_or(0);
    // SAFETY: `polls` are N valid pollfds for the length of the call, and what they are of is borrowed as long.
    if unsafe { libc::poll(polls.as_mut_ptr(), count, milliseconds) } < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok([false; N]) } else { Err(error) };
    }
    Ok(polls.map(|poll| poll.revents != 0))
}

/// Whether a write to `fd` would go through at once, if only in part.
pub fn is_writable(fd: &impl AsFd) -> bool {
    wait([(&fd.as_fd(), Interest::Write)], Some(Duration::ZERO)).is_ok_and(|[ready]| ready)
}

/// Waits until `fd` can be read, for as long as it takes.
///
/// # Errors
/// Nothing of this kind can be waited for.
pub fn wait_until_readable(fd: &impl AsFd) -> io::Result<()> {
    while wait([(&fd.as_fd(), Interest::Read)], None)? == [false] {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_ready_is_told_from_what_is_not() {
        let (left, mut right) = UnixStream::pair().unwrap();
        let fds = || [(&left as &dyn AsRawFd, Interest::Read), (&left, Interest::Write)];
        assert_eq!(wait(fds(), None).unwrap(), [false, true]);
        right.write_all(b"x").unwrap();
        assert_eq!(wait(fds(), Some(Duration::ZERO)).unwrap(), [true, true]);
        let (left, right) = UnixStream::pair().unwrap();
        let before = std::time::Instant::now();
        assert_eq!(wait([(&left, Interest::Read)], Some(Duration::from_micros(1500))).unwrap(), [false]);
        assert!(before.elapsed() >= Duration::from_micros(1500));
        drop(right);
        assert_eq!(wait([(&left, Interest::Read)], None).unwrap(), [true], "a side that is gone");
    }
}
