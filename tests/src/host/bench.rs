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
use crate::payload;
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
    /// Seconds from there to the first byte on the console: the guest's own part of [`FIRST_BYTE`].
    pub const GUEST_TO_BYTE: &str = "guest-to-byte";
    /// Seconds from exec to the first byte of a guest that prints at once.
    pub const BYTE_AT_ONCE: &str = "byte-at-once";
    /// Milliseconds that a further vCPU adds to it.
    pub const PER_CPU: &str = "per-cpu";
    /// MiB resident beside the guest's memory.
    pub const MEMORY: &str = "memory";
    /// MiB of the program.
    pub const BINARY: &str = "binary";
}

/// Where everything of a run is.
const FOLDER: &str = "/tmp/bench";
/// What the guest's first process prints.
const LINE: &[u8] = b"has reached user space";
/// The kernel's command line of the run that is measured.
const QUIET: &str = "console=ttyS0 panic=-1 quiet hold=1";
/// That of the run for the first byte: the kernel speaks as soon as it runs.
const EARLY: &str = "console=ttyS0 earlyprintk=ttyS0 panic=-1 hold=1";
/// The machine that is compared with one of one CPU has this many.
const MANY: u32 = 16;

/// What one run showed.
struct Run {
    first_byte: Duration,
    until: Duration,
    footprint: Footprint,
    report: ExitReport,
}

/// Measures and hands the figures to `sink`.
pub(super) fn run(sink: &Sink<'_>) -> Result<(), Failure> {
    let figure = |name: &str, value: f64, unit: &str| {
        sink(&Line::Figure { name: name.to_owned(), value, unit: unit.to_owned() });
    };
    // Twice for the page cache: no disk is in the figures, and no page that moves up in it at its second use.
    boot(QUIET, LINE)?;
    boot(QUIET, LINE)?;
    let early = boot(EARLY, b"\n")?;
    let guest = early.report.milestone("firstConsoleByte")? - early.report.milestone("firstInstruction")?;
    figure(figure::FIRST_BYTE, early.first_byte.as_secs_f64(), "s");
    figure(figure::GUEST_TO_BYTE, milli(guest) / 1e6, "s");
    let one = boot(QUIET, LINE)?;
    figure(figure::USER_SPACE, one.until.as_secs_f64(), "s");
    figure(figure::MEMORY, milli(one.footprint.beside_guest_kib) * 1000.0 / 1024.0, "MiB");
    figure(figure::FIRST_INSTRUCTION, milli(one.report.milestone("firstInstruction")?) / 1e6, "s");
    payload(1)?;
    let (few, many) = (payload(1)?, payload(MANY)?);
    figure(figure::BYTE_AT_ONCE, few.first_byte.as_secs_f64(), "s");
    let more = milli(many.first_instruction) - milli(few.first_instruction);
    figure(figure::PER_CPU, more / 1000.0 / f64::from(MANY - 1), "ms");
    sink(&Line::Note { text: format!("milestones with 1 vCPU, in ns: {:?}", one.report.milestones) });
    Ok(())
}

/// A thousandth.
#[expect(clippy::cast_precision_loss, reason = "figures have four digits")]
fn milli(value: u64) -> f64 {
    value as f64 / 1000.0
}

/// Boots a guest until it prints `text`, and ends it.
fn boot(kernel_args: &str, text: &[u8]) -> Result<Run, Failure> {
    let manifest = linux(kernel_args);
    let started = Instant::now();
    let (mut child, report) = start(&manifest, &[])?;
    let watched = watch(&mut child, started, text);
    let footprint = Footprint::of(child.id());
    end(&mut child)?;
    let (first_byte, until) = watched?;
    Ok(Run { first_byte, until, footprint: footprint?, report: ExitReport::read(&report)? })
}

/// What a guest without an operating system showed.
struct Payload {
    first_byte: Duration,
    /// Nanoseconds since the process's start.
    first_instruction: u64,
}

/// Runs a payload that prints a line and powers off, on so many CPUs.
fn payload(cpus: u32) -> Result<Payload, Failure> {
    let kernel = Path::new(FOLDER).join("payload.elf");
    fs::create_dir_all(FOLDER)?;
    fs::write(&kernel, payload::greeting()).doing("writing a payload")?;
    let manifest = Manifest::bare("bench").cores(cpus);
    let started = Instant::now();
    let (mut child, report) = start(&manifest, &["--kernel", &kernel.to_string_lossy()])?;
    let watched = watch(&mut child, started, b"\n");
    if wait(&mut child, Duration::from_secs(60))?.is_none() {
        end(&mut child)?;
        return Err(Failure(format!("a payload on {cpus} CPUs does not end")));
    }
    let (first_byte, _) = watched?;
    Ok(Payload { first_byte, first_instruction: ExitReport::read(&report)?.milestone("firstInstruction")? })
}

/// Starts the program; the path is that of its exit report.
fn start(manifest: &Manifest, more: &[&str]) -> Result<(Child, PathBuf), Failure> {
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder)?;
    let (path, report) = (folder.join("bench.yaml"), folder.join("exit.json"));
    fs::write(&path, serde_json::to_vec_pretty(&manifest.0)?).doing("writing a manifest")?;
    let mut command = Command::new(Path::new(PAYLOAD).join("kubevmm"));
    command.arg("run").arg(&path).args(["--console", "stdio", "--exit-report"]).arg(&report);
    command
        .arg("--runtime-dir")
        .arg(folder.join("run"))
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Ok((command.spawn().doing("starting kubevmm")?, report))
}

fn linux(kernel_args: &str) -> Manifest {
    let image = format!("rootfs:{PAYLOAD}/guest");
    let mut manifest = Manifest::linux("bench", &image, "vmlinux").cloud_init("#cloud-config\n");
    manifest.set("/spec/domain/firmware/kernelBoot/kernelArgs", json!(kernel_args));
    manifest.set("/spec/domain/firmware/kernelBoot/container/initrdPath", json!("/boot/initrd-small.img"));
    manifest.push("/spec/domain/devices/disks", json!({"name": "root", "disk": {"bus": "virtio"}}));
    manifest.push("/spec/volumes", json!({"name": "root", "containerDisk": {"image": image}}));
    manifest
}

/// When the console's first byte and the wanted text came.
fn watch(child: &mut Child, started: Instant, wanted: &[u8]) -> Result<(Duration, Duration), Failure> {
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
        if text.windows(wanted.len()).any(|window| window == wanted) {
            return Ok((first, now));
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
