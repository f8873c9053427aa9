//! The example machine, with a person at the console or without one.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use guest::{protocol, sys};

use super::PAYLOAD;
use super::init::on_terminal;
use crate::console::Console;
use crate::failure::{Doing, Failure};
use crate::vm::wait;

/// How long the example may take to greet, and to power off.
const PATIENCE: Duration = Duration::from_secs(120);

/// The command that boots the example, from the folder that the example's paths are relative to.
#[must_use]
pub fn hello(kubevmm: &Path) -> Vec<PathBuf> {
    [kubevmm, Path::new("run"), Path::new("resources/examples/hello.yaml")].map(Path::to_owned).to_vec()
}

/// Boots the example with its console on the test host's terminal.
pub(super) fn interactive() -> Result<u8, Failure> {
    let terminal =
        OpenOptions::new().read(true).write(true).open("/dev/ttyS0").doing("opening the terminal")?;
    let mut command = Command::new("/bin/busybox");
    command.current_dir(PAYLOAD).args(["setsid", "-c"]).args(hello(Path::new("/payload/kubevmm")));
    on_terminal(&mut command, &terminal).doing("starting kubevmm")
}

/// Boots the example in `folder`, shows its console until the greeting, presses its power button and waits for its end.
/// Returns the exit code of `command`.
///
/// # Errors
/// If it does not greet or does not end.
pub fn batch(command: &[PathBuf], folder: &Path) -> Result<u8, Failure> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .doing("starting kubevmm")?;
    let output = child.stdout.take().ok_or("no pipe from standard output")?;
    let log = std::env::temp_dir().join(format!("kubevmm-demo-{}.log", std::process::id()));
    let console = Console::collect(Tee(output), &log)?;
    let greeted = console.wait_for(protocol::READY, PATIENCE);
    if greeted.is_ok() {
        sys::kill(i32::try_from(child.id()).doing("process id")?, libc::SIGTERM)
            .doing("pressing the power button")?;
    }
    let limit = if greeted.is_ok() { PATIENCE } else { Duration::from_secs(1) };
    let ended = wait(&mut child, limit)?;
    if ended.is_none() {
        child.kill()?;
        child.wait()?;
    }
    console.wait_end(Duration::from_secs(5));
    let _ = std::fs::remove_file(log);
    greeted?;
    let status = ended.ok_or("the guest did not power off")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(253))
}

/// Shows on standard output what is read.
struct Tee<R>(R);

impl<R: std::io::Read> std::io::Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.0.read(buffer)?;
        let mut out = std::io::stdout();
        out.write_all(buffer.get(..length).unwrap_or_default())?;
        out.flush()?;
        Ok(length)
    }
}
