//! Benchmarks inside the test host. With instruction counting, a nanosecond
//! of its clock is an instruction of everything in it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use guest::sys;
use serde_json::json;

use super::PAYLOAD;
use crate::failure::{Doing, Failure};
use crate::footprint::Footprint;
use crate::manifest::Manifest;
use crate::report::ExitReport;
use crate::supervisor::Sink;
use crate::verdict::Line;
use crate::vm::wait;

/// Names of figures.
pub mod figure {
    /// Seconds from exec to the first line of the guest's first process.
    pub const USER_SPACE: &str = "user-space";
    /// Seconds from exec to the first byte on the console.
    pub const FIRST_BYTE: &str = "first-byte";
    /// Seconds from the process's start to the guest's first instruction.
    pub const FIRST_INSTRUCTION: &str = "first-instruction";
    /// Milliseconds that a further vCPU adds to it.
    pub const PER_CPU: &str = "per-cpu";
    /// MiB resident beside the guest's memory.
    pub const MEMORY: &str = "memory";
    /// MiB of the program.
    pub const BINARY: &str = "binary";
}

/// What the guest's first process prints.
const LINE: &[u8] = b"has reached user space";
/// The guest of the second run has this many CPUs.
const MANY: u32 = 16;

/// What one run showed.
struct Run {
    first_byte: Duration,
    user_space: Option<Duration>,
    footprint: Footprint,
    report: ExitReport,
}

/// Measures and hands the figures to `sink`.
pub(super) fn run(sink: &Sink<'_>) -> Result<(), Failure> {
    let figure = |name: &str, value: f64, unit: &str| {
        sink(&Line::Figure { name: name.to_owned(), value, unit: unit.to_owned() });
    };
    // Once for the page cache, so that no disk is in the figures.
    boot(1, true)?;
    let one = boot(1, true)?;
    figure(figure::FIRST_BYTE, one.first_byte.as_secs_f64(), "s");
    if let Some(time) = one.user_space {
        figure(figure::USER_SPACE, time.as_secs_f64(), "s");
    }
    figure(figure::MEMORY, milli(one.footprint.beside_guest_kib) * 1000.0 / 1024.0, "MiB");
    let first = one.report.milestone("firstInstruction")?;
    figure(figure::FIRST_INSTRUCTION, milli(first) / 1e6, "s");
    let many = boot(MANY, false)?.report.milestone("firstInstruction")?;
    figure(figure::PER_CPU, milli(many.saturating_sub(first)) / 1000.0 / f64::from(MANY - 1), "ms");
    sink(&Line::Note { text: format!("milestones with 1 vCPU, in ns: {:?}", one.report.milestones) });
    Ok(())
}

/// A thousandth.
#[expect(clippy::cast_precision_loss, reason = "figures have four digits")]
fn milli(value: u64) -> f64 {
    value as f64 / 1000.0
}

/// Boots a guest of so many CPUs until its first line, or else its first byte, and ends it.
fn boot(cpus: u32, to_user_space: bool) -> Result<Run, Failure> {
    let folder = Path::new("/tmp/bench");
    fs::create_dir_all(folder)?;
    let (manifest, report) = (manifest(folder, cpus)?, folder.join("exit.json"));
    let mut command = Command::new(Path::new(PAYLOAD).join("kubevmm"));
    command.arg("run").arg(&manifest).args([
        "--console",
        "stdio",
        "--runtime-dir",
        "/tmp/bench/run",
        "--exit-report",
    ]);
    command.arg(&report).stdin(Stdio::piped()).stdout(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().doing("starting kubevmm")?;
    let watched = watch(&mut child, started, to_user_space);
    let footprint = Footprint::of(child.id());
    end(&mut child)?;
    let (first_byte, user_space) = watched?;
    Ok(Run { first_byte, user_space, footprint: footprint?, report: ExitReport::read(&report)? })
}

fn manifest(folder: &Path, cpus: u32) -> Result<PathBuf, Failure> {
    let image = format!("rootfs:{PAYLOAD}/guest");
    let mut manifest = Manifest::linux("bench", &image, "vmlinux").cores(cpus).cloud_init("#cloud-config\n");
    let args = "console=ttyS0 panic=-1 quiet hold=1";
    manifest.set("/spec/domain/firmware/kernelBoot/kernelArgs", json!(args));
    manifest.set("/spec/domain/firmware/kernelBoot/container/initrdPath", json!("/boot/initrd-small.img"));
    manifest.push("/spec/domain/devices/disks", json!({"name": "root", "disk": {"bus": "virtio"}}));
    manifest.push("/spec/volumes", json!({"name": "root", "containerDisk": {"image": image}}));
    let path = folder.join("bench.yaml");
    fs::write(&path, serde_json::to_vec_pretty(&manifest.0)?).doing("writing a manifest")?;
    Ok(path)
}

/// When the console's first byte and the guest's first line came.
fn watch(
    child: &mut Child,
    started: Instant,
    to_user_space: bool,
) -> Result<(Duration, Option<Duration>), Failure> {
    let output = child.stdout.as_mut().ok_or("no pipe from standard output")?;
    let (mut text, mut buffer) = (Vec::new(), [0u8; 4096]);
    let mut first = None;
    loop {
        let length = output.read(&mut buffer).doing("reading the console")?;
        let now = started.elapsed();
        let first = *first.get_or_insert(now);
        text.extend_from_slice(buffer.get(..length).unwrap_or_default());
        if length == 0 {
            let text = String::from_utf8_lossy(&text).into_owned();
            return Err(Failure(format!("the console ended early: {text}")));
        }
        if !to_user_space {
            return Ok((first, None));
        }
        if text.windows(LINE.len()).any(|window| window == LINE) {
            return Ok((first, Some(now)));
        }
    }
}

/// Ends a machine whose guest does not listen: one signal for the power button, one to kill it.
fn end(child: &mut Child) -> Result<(), Failure> {
    let pid = i32::try_from(child.id()).doing("process id")?;
    for _ in 0..2 {
        if child.try_wait()?.is_none() {
            sys::kill(pid, libc::SIGTERM)?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    if wait(child, Duration::from_secs(10))?.is_none() {
        child.kill()?;
        child.wait()?;
        return Err("kubevmm does not end on a second signal".into());
    }
    Ok(())
}
