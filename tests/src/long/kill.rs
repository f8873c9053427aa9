//! A machine that is killed while its guest writes: whatever the guest flushed is in the image, and the image is sound.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use block::ops::{self, CreateOptions, Format};
use block::{Blocking, QcowDisk, QcowOptions};
use guest::protocol::{Answer, Request};
use guest::stamps;
use serde_json::json;

use crate::agent::Agent;
use crate::case::Ctx;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{END, Vm};

/// How often the machine is killed.
const KILLS: u64 = 10;
/// Blocks between two flushes.
const BATCH: u64 = 64;

/// What may be found at each place.
#[derive(Default)]
struct Written {
    /// The last number that was flushed, by place.
    flushed: BTreeMap<u64, u64>,
    /// Numbers that were under way when the machine was killed: any may be there, or none.
    pending: Vec<u64>,
    /// The next number.
    next: u64,
}

impl Written {
    fn flush(&mut self, first: u64) {
        for number in first..first + BATCH {
            self.flushed.insert(stamps::place(number), number);
        }
        self.next = first + BATCH;
    }

    /// Takes what was found for what is there from now on.
    fn settle(&mut self, found: &[u64]) -> Outcome {
        let mut lost = Vec::new();
        for (place, &number) in (0u64..).zip(found) {
            let flushed = self.flushed.get(&place).copied().unwrap_or(0);
            let was_pending = self.pending.contains(&number) && stamps::place(number) == place;
            if number != flushed && !was_pending {
                lost.push(format!("place {place} has {number} instead of {flushed}"));
            }
            self.flushed.insert(place, number);
        }
        self.pending.clear();
        ensure!(lost.is_empty(), "{} places are wrong: {}", lost.len(), lost.join(", "));
        Ok(())
    }
}

/// Ten times: boot, check what the kill before has left, write, kill.
pub(super) fn kill(ctx: &Ctx) -> Outcome {
    let image = ctx.volumes().join("data/disk.qcow2");
    fs::create_dir_all(ctx.volumes().join("data"))?;
    let size = stamps::DISK + (1 << 20);
    ops::create(&image, &CreateOptions::new(Format::Qcow2, size)).doing("making an image")?;
    let manifest = Manifest::linux("vm", &ctx.guest_image(), "vmlinux").claim(
        "data",
        "data",
        json!({"cache": "writeback"}),
    );
    let mut written = Written { next: 1, ..Written::default() };
    for round in 0..KILLS {
        let mut vm = Vm::start(ctx, &manifest, &[])?;
        let mut agent = vm.agent()?;
        written.settle(&seen_by_guest(&mut agent)?).doing("at boot, in the guest")?;
        let before = written.next;
        load_until_killed(&vm, agent, &mut written, Duration::from_millis(900 + 370 * round))?;
        // It has been killed: this only waits for its end.
        vm.wait_exit(END)?;
        let leaks = check(&image)?;
        let found = in_image(&image)?;
        ctx.note(&format!(
            "kill {}: {} blocks written since the boot, {} under way, {leaks} clusters leaked",
            round + 1,
            written.next - before,
            written.pending.len()
        ));
        // The numbers under way stay possible until the guest has been asked.
        let pending = written.pending.clone();
        written.settle(&found).doing("after the kill, in the image")?;
        written.next += u64::try_from(pending.len()).doing("counting")?;
    }
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut agent = vm.agent()?;
    written.settle(&seen_by_guest(&mut agent)?).doing("at the last boot")?;
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown")?;
    let leaks = check(&image)?;
    ensure!(leaks == 0, "{leaks} clusters are leaked after an orderly end");
    Ok(())
}

/// Has the guest write one batch after the other; in the middle of one, the machine is killed.
fn load_until_killed(vm: &Vm, mut agent: Agent, written: &mut Written, after: Duration) -> Outcome {
    while_killing(vm, after, || {
        loop {
            let first = written.next;
            let order = Request::BlockStamp { disk: "data".into(), first, count: BATCH };
            if agent.call(&order).is_err() {
                written.pending = (first..first + BATCH).collect();
                return;
            }
            written.flush(first);
        }
    })
}

/// Does `work`, which ends when the machine does, while that is killed after some time.
pub(super) fn while_killing(vm: &Vm, after: Duration, work: impl FnOnce()) -> Outcome {
    let pid = i32::try_from(vm.pid()).doing("process id")?;
    thread::scope(|scope| {
        let killer = scope.spawn(move || {
            thread::sleep(after);
            guest::sys::kill(pid, libc::SIGKILL)
        });
        work();
        killer.join().map_err(|_| Failure("the killer has panicked".into()))?.doing("killing the machine")
    })
}

fn seen_by_guest(agent: &mut Agent) -> Result<Vec<u64>, Failure> {
    match agent.call(&Request::BlockStamps { disk: "data".into() })? {
        Answer::Stamps(numbers) => Ok(numbers),
        other => Err(Failure(format!("an answer of another kind: {other:?}"))),
    }
}

/// The numbers in the image, read without a guest.
fn in_image(image: &Path) -> Result<Vec<u64>, Failure> {
    let options = QcowOptions { read_only: true, ..QcowOptions::default() };
    let disk = QcowDisk::open(image, &options).doing("opening the image")?;
    let mut io = Blocking::open(&disk).doing("opening the image")?;
    let mut block = vec![0; stamps::BLOCK];
    (0..stamps::PLACES)
        .map(|place| {
            io.read(stamps::offset(place), &mut block).doing("reading the image")?;
            stamps::read(&block).ok_or_else(|| Failure(format!("place {place} of the image is torn")))
        })
        .collect()
}

/// Checks the image; the number of leaked clusters.
pub(super) fn check(image: &Path) -> Result<u64, Failure> {
    let report = ops::check(image).doing("checking the image")?;
    ensure!(report.corruptions == 0, "the image is corrupt: {report:?}");
    Ok(report.leaks)
}
