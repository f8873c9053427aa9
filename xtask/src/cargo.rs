//! What this workspace builds for its tasks: static programs, so that they run in any guest.

use std::path::PathBuf;
use std::process::Command;

use crate::error::Result;
use crate::process;
use crate::store::Store;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Images are packed at zstd's usual level, which needs none of these.
const ZSTD: &str = "-DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR \
                    -DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR \
                    -DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR";

/// Which VMM a task is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// This workspace's, as it ships.
    Release,
    /// This workspace's, built quickly for a developer at work on it.
    Dev,
    /// One that is there already.
    Built(PathBuf),
}

/// The programs that tasks run.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The VMM.
    pub(crate) kubevmm: PathBuf,
    /// First process of the test host, runner of cases.
    pub(crate) runner: PathBuf,
    /// First process of guests.
    pub(crate) guest: PathBuf,
}

impl Programs {
    /// Builds what is not built yet.
    pub(crate) fn build(store: &Store, subject: &Subject) -> Result<Self> {
        let kubevmm = vmm(store, subject)?;
        let mut command = cargo(store);
        // They run on a processor that is emulated, the guest's even twice over: small and quick, without symbols.
        command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
        command.env("CARGO_PROFILE_DEV_STRIP", "true");
        command.args([
            "--package",
            "guest",
            "--bin",
            "kubevmm-guest",
            "--package",
            "tests",
            "--bin",
            "kubevmm-runner",
        ]);
        process::run(&mut command)?;
        let folder = built(store, "debug");
        Ok(Self { kubevmm, runner: folder.join("kubevmm-runner"), guest: folder.join("kubevmm-guest") })
    }
}

/// Builds the VMM alone.
pub(crate) fn vmm(store: &Store, subject: &Subject) -> Result<PathBuf> {
    match subject {
        Subject::Release => {
            let mut command = cargo(store);
            command.env("CFLAGS_x86_64_unknown_linux_gnu", ZSTD).arg("--release");
            kubevmm(store, &mut command, "release")
        }
        Subject::Dev => kubevmm(store, &mut cargo(store), "debug"),
        Subject::Built(path) => Ok(path.clone()),
    }
}

fn kubevmm(store: &Store, command: &mut Command, folder: &str) -> Result<PathBuf> {
    process::run(command.args(["--package", "vmm", "--bin", "kubevmm"]))?;
    Ok(built(store, folder).join("kubevmm"))
}

fn built(store: &Store, folder: &str) -> PathBuf {
    store.cargo_target().join(TARGET).join(folder)
}

fn cargo(store: &Store) -> Command {
    let mut command = program();
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    command.current_dir(&store.root).args(["build", "--quiet", "--target", TARGET]);
    command.env("RUSTFLAGS", format!("{flags} -C target-feature=+crt-static"));
    command
}

/// The cargo that runs this task.
pub(crate) fn program() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
