//! `cargo xtask bench snapshot`: what it costs to save machines and to bring them back, on this machine's KVM. Nothing is
//! asserted; the best of several rounds counts.

use std::process::{Command, ExitCode};

use crate::cargo::{Programs, Subject};
use crate::error::{Doing, Result};
use crate::store::{Store, empty_folder};

pub(crate) fn run(store: &Store) -> Result<ExitCode> {
    let programs = Programs::build(store, &Subject::Release)?;
    let scratch = store.path("bench-snapshot");
    empty_folder(&scratch)?;
    println!(
        "a payload with 4 GiB, of which it has written 64 MiB; wanted: restore <= 18 ms, pause for 64 MiB <= 30 ms"
    );
    let mut command = Command::new(programs.runner);
    let status = command.arg("bench-snapshot").arg(programs.kubevmm).arg(&scratch).status();
    let status = status.doing("starting the runner")?;
    let _ = std::fs::remove_dir_all(scratch);
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
