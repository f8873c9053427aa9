//! The two programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Doing, Error, Result};
use crate::process;

/// What is measured.
pub(super) struct Tools {
    pub(super) kubevmm: PathBuf,
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Qemu,
    Kubevmm,
}

impl Tools {
    /// A command of `qemu-img` or `kubevmm image`.
    pub(super) fn command(&self, tool: Tool, verb: &str) -> Command {
        let mut command = match tool {
            Tool::Qemu => Command::new("qemu-img"),
            Tool::Kubevmm => Command::new(&self.kubevmm),
        };
        if tool == Tool::Kubevmm {
            command.arg("image");
        }
        command.arg(verb);
        command
    }

    /// Makes an image; by QEMU, so that neither is at home in it.
    pub(super) fn create(&self, format: &str, options: &str, path: &Path, size: &str) -> Result<()> {
        let mut command = self.command(Tool::Qemu, "create");
        command.args(["-q", "-f", format]);
        if !options.is_empty() {
            command.args(["-o", options]);
        }
        process::output(command.arg(path).arg(size)).map(drop)
    }
}

/// The time that a bench says it took.
pub(super) fn bench_time(command: &mut Command) -> Result<Duration> {
    let text = process::output(command)?;
    let seconds = text.lines().find_map(|line| {
        line.strip_prefix("Run completed in ")?.strip_suffix(" seconds.")?.parse::<f64>().ok()
    });
    seconds.map(Duration::from_secs_f64).ok_or_else(|| Error(format!("no time in the output:\n{text}")))
}

/// The time that a command takes, from its start to its end.
pub(super) fn wall_time(command: &mut Command) -> Result<Duration> {
    let begin = Instant::now();
    process::output(command)?;
    Ok(begin.elapsed())
}

/// Has the host forget what it has of a file in memory.
pub(super) fn forget(path: &Path) -> Result<()> {
    process::output(Command::new("sync").arg(path)).doing("writing a file out")?;
    let file = format!("if={}", path.display());
    process::output(Command::new("dd").args([&file, "iflag=nocache", "count=0", "status=none"])).map(drop)
}
