//! Numbers of open files: those that this process was started with, and room for those to come.
#![expect(unsafe_code, reason = "a number becomes the owner of an open file")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

/// Those that have an owner: a number is handed out once in the life of the process.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// So many open files are more than a machine has, unless it has hundreds of vCPUs or of clients.
const ROOM: RawFd = 1024;

/// Has the kernel make room for many open files. It begins with 64, and where threads share them, each time that these do not do whoever
/// opens one more waits until no processor can be looking at the old table: some milliseconds, between a machine's being built and its first
/// instruction. To be called while there is one thread; a kernel that refuses costs no more than that.
pub fn make_room() {
    if let Ok(any) = File::open("/dev/null") {
        // SAFETY: no pointers are passed, and the number that comes back is nobody's but ours.
        let highest = unsafe { libc::fcntl(any.as_raw_fd(), libc::F_DUPFD_CLOEXEC, ROOM - 1) };
        if highest >= 0 {
            // SAFETY: it was opened by the call above, and no one else has it.
            drop(unsafe { OwnedFd::from_raw_fd(highest) });
        }
    }
}

/// Takes over the open files of these numbers, and keeps them from programs that are started later.
///
/// # Errors
/// One is not open, or was taken before.
pub fn inherited(numbers: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let take = |number: &RawFd| {
        if !taken.insert(*number) {
            return Err(io::Error::other(format!("fd {number} is in use already")));
        }
        // SAFETY: no pointers are passed; a number that is not open is an error.
        let result = unsafe { libc::fcntl(*number, libc::F_SETFD, libc::FD_CLOEXEC) };
        if result < 0 {
            let error = io::Error::last_os_error();
            return Err(io::Error::new(error.kind(), format!("fd {number}: {error}")));
        }
        // SAFETY: it is open, whoever started this process meant it for us, and no one else here has taken it.
        Ok(unsafe { OwnedFd::from_raw_fd(*number) })
    };
    numbers.iter().map(take).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    /// How many open files there is room for, as the kernel says.
    fn room() -> RawFd {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        line.unwrap().trim().parse().unwrap()
    }

    #[test]
    fn there_is_room_for_many_files_and_none_of_them_is_open() {
        const TIMES: i32 = 200;
        for _ in 0..TIMES {
            make_room();
        }
        assert!(room() >= ROOM, "{}", room());
        // Other tests may have some open there just now, but not as many as would have been left open.
        let is_open = |number: &RawFd| std::path::Path::new(&format!("/proc/self/fd/{number}")).exists();
        assert!((ROOM - 1..ROOM + TIMES).filter(is_open).count() < TIMES as usize / 2);
    }

    #[test]
    fn files_are_taken_once() {
        let number = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        let taken = inherited(&[number]).unwrap();
        assert_eq!(taken.len(), 1);
        assert!(inherited(&[number]).is_err(), "taken already");
        assert!(inherited(&[9999]).unwrap_err().to_string().contains("fd 9999"));
    }
}
