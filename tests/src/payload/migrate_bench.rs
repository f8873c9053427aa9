//! What moving a machine costs, measured with a payload on the KVM of this machine. Nothing is asserted.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::snapshot_bench::Figure;
use super::{SOON, code, elf};
use crate::case::Ctx;
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure};
use crate::manifest::Manifest;
use crate::vm::Vm;

/// Memory of the guest, of which it fills half.
const MEMORY: &str = "2Gi";
const FILLED: usize = 1 << 30;
/// How often the machine moves; the best counts.
const MOVES: usize = 3;
const FILL: Duration = Duration::from_secs(30);

/// Measures everything.
///
/// # Errors
/// If a machine does not do what it should.
pub fn figures(ctx: &Ctx) -> Result<Vec<Figure>, Failure> {
    let kernel = ctx.scratch.join("payload.elf");
    std::fs::write(&kernel, elf::pvh(code::fills(), 4096)).doing("writing a payload")?;
    let kernel = kernel.to_string_lossy();
    let manifest = Manifest::bare("payload").memory(MEMORY).grace(1);
    let mut vm = Vm::start(ctx, &manifest, &["--kernel", kernel.as_ref()])?;
    vm.console().wait_for("payload: full\n", FILL)?;
    let mut figures = Vec::new();
    let (mut from, mut best) = ("run".to_owned(), f64::MAX);
    for number in 0..MOVES {
        let to = format!("place-{number}");
        let address = format!("unix:{}", ctx.scratch.join(format!("{to}.sock")).display());
        let next = Vm::receive(ctx, &to, "payload", &["--kernel", kernel.as_ref(), "--listen", &address])?;
        let limit = Instant::now() + SOON;
        while !next.errors().contains("waiting for") {
            ensure!(Instant::now() < limit, "the destination does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        let (code, text) = beside(ctx, &from, &["migrate", "payload", &address])?;
        ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
        vm.wait_exit(SOON)?.expect(0, "migrated")?;
        if let Some(line) = vm.errors().lines().find(|line| line.contains("migrated in")) {
            println!("{line}");
        }
        let object = vm.status_file()?;
        let text = object["metadata"]["annotations"]["kubevmm.io/migration-progress"].as_str();
        let progress: Value = serde_json::from_str(text.unwrap_or_default()).doing("reading how it went")?;
        let sent = progress["sentBytes"].as_f64().unwrap_or_default();
        let first = text_after(&vm.errors(), "migrated in ").unwrap_or(f64::MAX);
        if first < best {
            best = first;
            figures = vec![
                ("time in all", first, "s"),
                ("rounds", progress["rounds"].as_f64().unwrap_or_default(), ""),
                ("bytes sent", sent / f64::from(1 << 20), "MiB"),
                ("bytes sent, for each byte in use", sent / to_f64(FILLED), ""),
                ("throughput", sent / f64::from(1 << 20) / first, "MiB/s"),
                ("downtime", text_after(&vm.errors(), "stood still for ").unwrap_or_default(), "ms"),
            ];
        }
        (vm, from) = (next, to);
    }
    figures.push(("a plain copy by a unix socket", plain_copy()?, "MiB/s"));
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    Ok(figures)
}

/// The number behind some words.
fn text_after(text: &str, words: &str) -> Option<f64> {
    text.split(words).nth(1)?.split(' ').next()?.parse().ok()
}

/// As many bytes from one thread to another, from memory and to memory.
fn plain_copy() -> Result<f64, Failure> {
    let (mut from, mut to) = UnixStream::pair().doing("making sockets")?;
    let source = vec![1u8; FILLED];
    let begun = Instant::now();
    let reader = thread::spawn(move || {
        let mut memory = vec![0u8; FILLED];
        to.read_exact(&mut memory).map(|()| memory.len())
    });
    from.write_all(&source).doing("sending")?;
    let read = reader.join().map_err(|_| Failure("the reader panicked".into()))?;
    read.doing("receiving")?;
    Ok(to_f64(FILLED) / f64::from(1 << 20) / begun.elapsed().as_secs_f64())
}

fn to_f64(bytes: usize) -> f64 {
    u32::try_from(bytes).map_or(f64::MAX, f64::from)
}
