//! A shell on the console.

use std::fs::{self, OpenOptions};
use std::io;
use std::process::Command;

/// Runs a login shell on the console's terminal until it ends.
pub(crate) fn run() -> io::Result<()> {
    let active = fs::read_to_string("/sys/class/tty/console/active")?;
    let name = active.split_whitespace().last().unwrap_or("console");
    let terminal = OpenOptions::new().read(true).write(true).open(format!("/dev/{name}"))?;
    Command::new("/bin/busybox")
        .args(["setsid", "-c", "/bin/busybox", "sh", "-l"])
        .env("HOME", "/")
        .env("PATH", "/bin")
        .env("TERM", "vt100")
        .stdin(terminal.try_clone()?)
        .stdout(terminal.try_clone()?)
        .stderr(terminal)
        .status()
        .map(drop)
}
