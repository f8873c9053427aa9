//! What snapshots cost, measured with a payload on the KVM of this machine. Nothing is asserted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::SOON;
use super::touching::{touch, touching};
use crate::case::Ctx;
use crate::commands::says;
use crate::failure::{Doing, Failure};
use crate::manifest::Manifest;
use crate::vm::Vm;

/// Memory of the guest. It touches 64 MiB of it in each round.
const MEMORY: &str = "4Gi";
/// How often each is measured; the best counts.
const ROUNDS: u32 = 5;
/// Machines of one snapshot at a time.
const CLONES: u32 = 10;

/// A figure: what was measured, the number, its unit.
pub type Figure = (&'static str, f64, &'static str);

/// Measures everything.
///
/// # Errors
/// If a machine does not do what it should.
pub fn figures(ctx: &Ctx) -> Result<Vec<Figure>, Failure> {
    let mut vm = touching(ctx, &Manifest::bare("payload").memory(MEMORY).grace(1))?;
    let mut bench = Bench { ctx, figures: Vec::new() };
    let (whole, took) = bench.whole()?;
    bench.add("pause for a whole snapshot", whole, "ms");
    bench.add("time until it is durable", took, "ms");
    let mut base = bench.last();
    let mut round = 1;
    let mut best = f64::MAX;
    for number in 0..ROUNDS {
        round += 1;
        touch(&mut vm, round)?;
        let place = ctx.scratch.join(format!("diff-{number}"));
        let args = ["snapshot", "payload", &text(&place), "--incremental-of", &text(&base)];
        best = best.min(pause(&says(ctx, 0, &args)?)?);
        base = place;
    }
    bench.add("pause for a snapshot of 64 MiB that were written since the last", best, "ms");
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    bench.restores()?;
    bench.demand()?;
    bench.clones()?;
    Ok(bench.figures)
}

struct Bench<'a> {
    ctx: &'a Ctx,
    figures: Vec<Figure>,
}

impl Bench<'_> {
    fn add(&mut self, what: &'static str, value: f64, unit: &'static str) {
        self.figures.push((what, value, unit));
    }

    /// The last whole snapshot.
    fn last(&self) -> PathBuf {
        self.ctx.scratch.join(format!("whole-{}", ROUNDS - 1))
    }

    /// The shortest pause and the shortest time of several whole snapshots, in milliseconds.
    fn whole(&self) -> Result<(f64, f64), Failure> {
        let mut best = (f64::MAX, f64::MAX);
        for number in 0..ROUNDS {
            let place = text(&self.ctx.scratch.join(format!("whole-{number}")));
            let begun = Instant::now();
            let said = says(self.ctx, 0, &["snapshot", "payload", &place, "--track"])?;
            best = (best.0.min(pause(&said)?), best.1.min(milliseconds(begun.elapsed())));
        }
        Ok(best)
    }

    /// From the start of the process to the guest's first instruction.
    fn restores(&mut self) -> Result<(), Failure> {
        let directory = self.last();
        for (what, args) in [
            ("restore, mapped: process start to the guest's first instruction", [].as_slice()),
            ("restore, --eager: the same", &["--eager"]),
            ("restore, --memory demand: the same", &["--memory", "demand"]),
        ] {
            let mut best = f64::MAX;
            for _ in 0..ROUNDS {
                let mut vm = Vm::restore(self.ctx, ("payload", "restored"), &directory, args)?;
                vm.type_in("cq")?;
                let ended = vm.wait_exit(SOON)?;
                let report = ended.expect(0, "guest-shutdown")?;
                best = best.min(nanoseconds(report.milestone("firstInstruction")?));
            }
            self.add(what, best, "ms");
        }
        Ok(())
    }

    /// How long a guest takes to read its 64 MiB when they come on demand, from the start of the process: when nobody knows what it needs, and
    /// when that is known.
    fn demand(&mut self) -> Result<(), Failure> {
        let directory = self.last();
        let known = directory.join("working-set.json");
        let read = |log: &str| {
            let begun = Instant::now();
            let mut vm = Vm::restore(self.ctx, ("payload", log), &directory, &["--memory", "demand"])?;
            vm.type_in("c")?;
            vm.console().wait_for("00000001", SOON)?;
            let took = milliseconds(begun.elapsed());
            let deadline = Instant::now() + SOON;
            while !known.exists() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            vm.type_in("q")?;
            vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
            Ok::<_, Failure>(took)
        };
        let (mut mapped, mut first, mut again) = (f64::MAX, f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let mut vm = Vm::restore(self.ctx, ("payload", "mapped"), &directory, &[])?;
            vm.type_in("c")?;
            vm.console().wait_for("00000001", SOON)?;
            mapped = mapped.min(milliseconds(begun.elapsed()));
            vm.type_in("q")?;
            vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
            // The restores before may have made one.
            let _ = fs::remove_file(&known);
            first = first.min(read("demand-first")?);
            again = again.min(read("demand-again")?);
        }
        self.add("restore, mapped: process start until the guest has read 64 MiB", mapped, "ms");
        self.add("restore, --memory demand: the same, when nobody knows what it needs", first, "ms");
        self.add("restore, --memory demand: the same, when that is known", again, "ms");
        Ok(())
    }

    /// Memory of machines that come of one snapshot, as each one's share of it.
    fn clones(&mut self) -> Result<(), Failure> {
        let directory = self.last();
        let mut clones = Vec::new();
        for number in 0..CLONES {
            let name = format!("clone-{number}");
            let mut vm = Vm::restore(self.ctx, (&name, &name), &directory, &[])?;
            // It reads all of the 64 MiB.
            vm.type_in("c")?;
            vm.console().wait_for("00000001", SOON)?;
            clones.push(vm);
        }
        let shares = clones.iter().map(|vm| share(vm.pid())).collect::<Result<Vec<_>, _>>()?;
        self.add(
            "ten machines of one snapshot that read 64 MiB each, memory of all",
            shares.iter().sum(),
            "MiB",
        );
        for vm in &mut clones {
            vm.type_in("t")?;
            vm.console().wait_for("00000002", SOON)?;
        }
        let shares = clones.iter().map(|vm| share(vm.pid())).collect::<Result<Vec<_>, _>>()?;
        self.add("the same when each has written them", shares.iter().sum(), "MiB");
        for vm in &mut clones {
            vm.type_in("q")?;
            vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
        }
        Ok(())
    }
}

/// The pause in milliseconds, as `kubevmm snapshot` says it.
fn pause(said: &str) -> Result<f64, Failure> {
    let number = said.split("stood still for ").nth(1).and_then(|rest| rest.split(' ').next());
    number.unwrap_or_default().parse().doing("reading how long it stood still")
}

/// Proportional share of memory of a process, in MiB.
fn share(pid: u32) -> Result<f64, Failure> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).doing("reading smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().doing("reading a share of memory")?;
    Ok(kib / 1024.0)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn nanoseconds(count: u64) -> f64 {
    milliseconds(Duration::from_nanos(count))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
