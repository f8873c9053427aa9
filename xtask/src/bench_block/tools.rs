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

/// What a command took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// From its start to its end; for a bench, as it says itself.
    pub(super) time: Duration,
    /// Of all processors, user and system, which is the same however busy the machine is.
    pub(super) processor: Duration,
}

/// The cost of a bench, or `None` if it failed: qemu-img has no io_uring on some hosts, and no
/// native AIO on some file systems.
pub(super) fn bench(command: &Command) -> Result<Option<Cost>> {
    let Some((text, cost)) = measured(command)? else { return Ok(None) };
    let seconds = text.lines().find_map(|line| {
        line.strip_prefix("Run completed in ")?.strip_suffix(" seconds.")?.parse::<f64>().ok()
    });
    let seconds = seconds.ok_or_else(|| Error(format!("no time in the output:\n{text}")))?;
    Ok(Some(Cost { time: Duration::from_secs_f64(seconds), ..cost }))
}

/// The cost of a command that has to succeed.
pub(super) fn cost(command: &Command) -> Result<Cost> {
    let done = measured(command)?;
    done.map(|(_, cost)| cost).ok_or_else(|| Error(format!("{command:?} failed")))
}

/// Runs a command below a shell that says how much processor time it took.
fn measured(command: &Command) -> Result<Option<(String, Cost)>> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\" || exit 1; times", "sh"]).arg(command.get_program()).args(command.get_args());
    let begin = Instant::now();
    let Ok(text) = process::output(&mut shell) else { return Ok(None) };
    let time = begin.elapsed();
    let times = text.lines().last().unwrap_or_default();
    let processor: Option<f64> = times.split_whitespace().map(seconds).sum();
    let processor = processor.ok_or_else(|| Error(format!("these are no times: {times:?}")))?;
    Ok(Some((text, Cost { time, processor: Duration::from_secs_f64(processor) })))
}

/// `1m2.5s`.
fn seconds(text: &str) -> Option<f64> {
    let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
    Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
}

/// Has the host forget what it has of a file in memory.
pub(super) fn forget(path: &Path) -> Result<()> {
    process::output(Command::new("sync").arg(path)).doing("writing a file out")?;
    let file = format!("if={}", path.display());
    process::output(Command::new("dd").args([&file, "iflag=nocache", "count=0", "status=none"])).map(drop)
}
