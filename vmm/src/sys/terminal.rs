//! The user's terminal in raw mode.
#![expect(unsafe_code, reason = "termios has no safe wrapper in our dependencies")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A terminal whose keys go to the guest one by one; its old mode comes back when this is dropped.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: libc::termios,
}

impl RawMode {
    /// Puts `terminal` into raw mode. Output processing stays as it is: the guest's line ends are its own business.
    pub fn enter(terminal: impl AsFd) -> io::Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let mut before = MaybeUninit::uninit();
        // SAFETY: `before` has room for one termios.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded and filled it.
        let before = unsafe { before.assume_init() };
        let mut raw = before;
        // SAFETY: `raw` is a valid termios.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        raw.c_oflag = before.c_oflag;
        let mode = Self { terminal, before };
        mode.set(&raw)?;
        Ok(mode)
    }

    fn set(&self, termios: &libc::termios) -> io::Result<()> {
        // SAFETY: `termios` is valid for the length of the call.
        match unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSANOW, termios) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing is left to be done for a terminal that is gone.
        let _ = self.set(&self.before);
    }
}

/// Lets a panic, which ends the process on the spot, leave the terminal as it is now.
pub fn restore_on_panic(terminal: impl AsFd) {
    let Ok(terminal) = terminal.as_fd().try_clone_to_owned() else { return };
    let mut now = MaybeUninit::uninit();
    // SAFETY: `now` has room for one termios.
    if unsafe { libc::tcgetattr(terminal.as_raw_fd(), now.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: the call succeeded and filled it.
    let mode = RawMode { terminal, before: unsafe { now.assume_init() } };
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = mode.set(&mode.before);
        print(panic);
    }));
}
