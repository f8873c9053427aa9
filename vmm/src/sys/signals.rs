//! Signals as a descriptor.
#![expect(unsafe_code, reason = "signalfd has no safe wrapper in our dependencies")]

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};

use vmm_sys_util::signal::create_sigset;

/// Signals that ask the process to end its guest.
const TERMINATION: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Blocked termination signals, readable one by one.
#[derive(Debug)]
pub struct TerminationSignals(File);

impl TerminationSignals {
    /// Blocks the signals in this thread and in all that it starts from now on.
    pub fn block() -> io::Result<Self> {
        let set = create_sigset(&TERMINATION)?;
        // SAFETY: `set` is initialised, and no old mask is asked for.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        // SAFETY: `set` is initialised; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so `fd` is open and nobody else's.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// The next pending signal's number.
    pub fn next(&self) -> Option<u32> {
        let mut info = [0; mem::size_of::<libc::signalfd_siginfo>()];
        (&self.0).read_exact(&mut info).ok()?;
        // ssi_signo is the first field.
        info.first_chunk().map(|signal| u32::from_ne_bytes(*signal))
    }
}

impl AsFd for TerminationSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
