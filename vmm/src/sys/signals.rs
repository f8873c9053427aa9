//! Signals as a descriptor.
#![expect(unsafe_code, reason = "signalfd has no safe wrapper in our dependencies")]

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};

use vmm_sys_util::signal::create_sigset;

/// Signals that ask the process to end its guest.
const TERMINATION: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The guest's end (SIGTERM, SIGINT, SIGHUP).
    End,
    /// That a machine that is paused goes on (SIGCONT).
    GoOn,
}

/// Blocked signals, readable one by one.
#[derive(Debug)]
pub struct Signals(File);

impl Signals {
    /// Blocks the signals that are not ignored in this thread and in all that it starts from now on.
    pub fn block() -> io::Result<Self> {
        let all = TERMINATION.into_iter().chain([libc::SIGCONT]);
        let wanted: Vec<_> = all.filter(|signal| !is_ignored(*signal)).collect();
        let set = create_sigset(&wanted)?;
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

    /// What the next pending signal asks for.
    pub fn next(&self) -> Option<Wish> {
        let mut info = [0; mem::size_of::<libc::signalfd_siginfo>()];
        (&self.0).read_exact(&mut info).ok()?;
        // ssi_signo is the first field.
        let signal = info.first_chunk().map(|signal| i32::from_ne_bytes(*signal))?;
        Some(if signal == libc::SIGCONT { Wish::GoOn } else { Wish::End })
    }

    /// Whether somebody wants the guest's end. What was pending before that is taken.
    pub fn wish_the_end(&self) -> bool {
        std::iter::from_fn(|| self.next()).any(|wish| wish == Wish::End)
    }
}

/// Whether whoever started the process wants it to ignore `signal` (nohup, background jobs).
fn is_ignored(signal: i32) -> bool {
    let mut action = mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed, and `action` has room for the answer.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroes are a valid sigaction, and the call only writes a valid one over them.
    result == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
