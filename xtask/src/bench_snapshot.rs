//! `cargo xtask bench snapshot` and `bench migrate`: what it costs to save machines, to bring them back and to move them, on
//! this machine's KVM. Nothing is asserted; of snapshots the best of several rounds counts, of moves the median.

use std::process::{Command, ExitCode};

use crate::cargo::{Programs, Subject};
use crate::error::{Doing, Result};
use crate::store::{Store, empty_folder};

pub(crate) fn snapshot(store: &Store) -> Result<ExitCode> {
    let what = "a payload with 4 GiB, of which it has written 64 MiB; wanted: restore <= 18 ms, pause for 64 MiB <= 30 ms";
    run(store, "bench-snapshot", what)
}

pub(crate) fn migrate(store: &Store) -> Result<ExitCode> {
    let what = "a payload with 2 GiB, of which it has filled 1 GiB, and in the last two lines goes on writing to 128 MiB; wanted: bytes \
                sent <= 1.1 of those in use or written meanwhile, throughput >= 80 % of a plain copy by a socket of the same kind";
    run(store, "bench-migrate", what)
}

fn run(store: &Store, bench: &str, what: &str) -> Result<ExitCode> {
    let programs = Programs::build(store, &Subject::Release)?;
    let scratch = store.path(bench);
    empty_folder(&scratch)?;
    println!("{what}");
    let mut command = Command::new(programs.runner);
    let status = command.arg(bench).arg(programs.kubevmm).arg(&scratch).status();
    let status = status.doing("starting the runner")?;
    let _ = std::fs::remove_dir_all(scratch);
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
