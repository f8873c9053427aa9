//! Handing a descriptor to a child.
#![expect(
    unsafe_code,
    reason = "what a child does before it becomes another program is only reached that way"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the child keep `fd`, under its number, which this process's other children do not see. It has to stay open until
/// the child is started.
pub(super) fn keep(command: &mut Command, fd: BorrowedFd<'_>) {
    let fd = fd.as_raw_fd();
    // SAFETY: between fork and exec only a system call is made.
    unsafe { command.pre_exec(move || set_flags(fd, libc::F_SETFD, 0)) };
}

/// Makes reads and writes return instead of waiting.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_flags(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK)
}

fn set_flags(fd: i32, what: i32, flags: i32) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    if unsafe { libc::fcntl(fd, what, flags) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether this process is root.
pub(super) fn is_root() -> bool {
    // SAFETY: no pointers are passed.
    unsafe { libc::geteuid() == 0 }
}
