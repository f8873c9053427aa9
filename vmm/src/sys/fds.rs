//! Open files that this process was started with.
#![expect(unsafe_code, reason = "a number becomes the owner of an open file")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

/// Those that have an owner: a number is handed out once in the life of the process.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

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

    #[test]
    fn files_are_taken_once() {
        let number = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        let taken = inherited(&[number]).unwrap();
        assert_eq!(taken.len(), 1);
        assert!(inherited(&[number]).is_err(), "taken already");
        assert!(inherited(&[9999]).unwrap_err().to_string().contains("fd 9999"));
    }
}
