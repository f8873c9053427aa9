//! A machine that was saved by the first program that could do it goes on under this one.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{SOON, code, elf};
use crate::case::Ctx;
use crate::commands::says;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::command;

const FORMAT_1: &[u8] = include_bytes!("../../../vmm/src/snapshot/golden/format-1.tar");
/// Where its plan has the payload, which is opened for the case that the guest resets itself.
const KERNEL: &str = "/tmp/kubevmm-golden/payload.elf";
/// A KVM that shows guests the processor that it has, whatever they saw before: it minds the rate of its counter only.
const ANY_PROCESSOR: &str = "/sys/module/kvm_pvm";
/// How what does not fit begins.
const RATE: &str = "the guest's time stamp counter ";
const MISFITS: [&str; 4] = ["the guest's processor ", RATE, "the guest has seen ", "part "];

/// The payload at its place, which all runs on a host have in common: others wait until this is dropped.
struct Payload {
    _lock: File,
}

impl Payload {
    fn place() -> Result<Self, Failure> {
        let folder = folder();
        // The folder itself goes, and a lock with it.
        let lock = File::open(folder.parent().unwrap_or(folder))?;
        lock.lock().doing("waiting for other runs of this case")?;
        fs::create_dir_all(folder)?;
        fs::write(KERNEL, elf::pvh(code::counts(), 4096)).doing("writing a payload")?;
        Ok(Self { _lock: lock })
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        // The next one puts up with what is there.
        let _ = fs::remove_dir_all(folder());
    }
}

fn folder() -> &'static Path {
    Path::new(KERNEL).parent().unwrap_or(Path::new("/"))
}

pub(super) fn golden(ctx: &Ctx) -> Outcome {
    let _payload = Payload::place()?;
    goes_on(ctx)
}

fn goes_on(ctx: &Ctx) -> Outcome {
    let stream = ctx.scratch.join("format-1.tar");
    fs::write(&stream, FORMAT_1).doing("writing the stream")?;
    let (into, console) = (ctx.scratch.join("golden"), ctx.scratch.join("console"));
    let errors = ctx.results.join("golden.stderr.log");
    let mut child = command(ctx)
        .args(["restore", "-", "--into"])
        .arg(&into)
        .arg(format!("--console=file:{}", console.display()))
        .arg("--runtime-dir")
        .arg(ctx.scratch.join("run"))
        .stdin(File::open(&stream)?)
        .stderr(File::create(&errors)?)
        .spawn()
        .doing("starting kubevmm")?;
    let deadline = Instant::now() + SOON;
    let numbers = loop {
        let numbers = numbers(&console)?;
        if numbers.len() >= 5 {
            break numbers;
        }
        if let Some(status) = child.try_wait()? {
            let said = fs::read_to_string(&errors)?;
            // Another processor than that which the machine was saved on is a reason, where KVM minds. Nothing else is.
            let minds = !Path::new(ANY_PROCESSOR).is_dir() || said.contains(RATE);
            ensure!(minds && status.code() == Some(1) && is_of_processors(&said), "{status}: {said}");
            ctx.note(&format!("this host does not take it: {}", said.trim()));
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "it does not count: {numbers:?}, {}",
            fs::read_to_string(&errors)?
        );
        thread::sleep(Duration::from_millis(20));
    };
    let first = numbers.first().copied().unwrap_or(0);
    let wanted: Vec<u32> = (first..).take(numbers.len()).collect();
    ensure!(first > 3 && numbers == wanted, "it goes on with {numbers:?}");
    says(ctx, 0, &["stop", "golden", "--force"])?;
    child.wait()?;
    Ok(())
}

/// Whether a restore that says this was refused because this host's processor is not as the guest's.
fn is_of_processors(said: &str) -> bool {
    let why = said.split_once("the machine cannot run on this host: ").map_or("", |(_, why)| why);
    MISFITS.iter().any(|misfit| why.starts_with(misfit))
}

/// The numbers that the guest has printed whole.
fn numbers(console: &Path) -> Result<Vec<u32>, Failure> {
    let text = fs::read_to_string(console).unwrap_or_default().replace('\r', "");
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    let number = |line: &str| u32::from_str_radix(line.trim(), 16).doing("reading a number");
    whole.lines().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_another_runs_payload_away() {
        let run = || {
            for _ in 0..50 {
                let _payload = Payload::place().unwrap();
                thread::yield_now();
                fs::read(KERNEL).unwrap();
            }
        };
        thread::scope(|scope| [(); 4].map(|()| scope.spawn(run)).map(|run| run.join().unwrap()));
    }

    #[test]
    fn only_another_processor_excuses_a_host() {
        for why in [
            "the guest's processor is GenuineIntel's, this host's is AuthenticAMD's",
            "the guest's processor has avx512f, which this host cannot give",
            "the guest has seen 0x2b in IA32_ARCH_CAPABILITIES, this host has 0x0",
        ] {
            assert!(
                is_of_processors(&format!("error: the machine cannot run on this host: {why}\n")),
                "{why}"
            );
        }
        for other in [
            "",
            "error: the snapshot /x is damaged: memory: its checksum is another one",
            "error: /x is no snapshot that this program reads: it has version 1",
            "error: the machine's state has layout 1; this program reads up to 0",
            "error: the machine cannot run on this host: the host gives no random numbers",
        ] {
            assert!(!is_of_processors(other), "{other}");
        }
    }
}
