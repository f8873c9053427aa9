//! Pause, restart and idleness of payloads.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{SOON, code, start, start_as};
use crate::case::Ctx;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::wait::until;

/// Long enough for a guest that runs to say something.
const A_WHILE: Duration = Duration::from_millis(300);

pub(super) fn is_paused(status: &serde_json::Value) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Paused" && one["status"] == "True"))
}

pub(super) fn starts_paused(ctx: &Ctx) -> Outcome {
    let mut manifest = Manifest::bare("payload").memory("64Mi");
    manifest.set("/spec/startStrategy", json!("Paused"));
    let mut vm = start_as(ctx, &manifest, code::greet(), &[])?;
    vm.wait_status(SOON, |status| status["phase"] == "Running" && is_paused(status))?;
    thread::sleep(A_WHILE);
    ensure!(vm.console().text().is_empty(), "it said {:?}", vm.console().text());
    let again = vm.ask("pause")?;
    ensure!(again.status == 409 && again.text.contains("VMI is already paused"), "pause: {again:?}");
    vm.operate("unpause")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    ensure!(vm.status_file()?["status"]["phase"] == "Succeeded", "the phase at the end");
    // One that never ran is ended without waiting for it.
    let mut vm = start_as(ctx, &manifest, code::greet(), &[])?;
    vm.wait_status(SOON, is_paused)?;
    vm.signal(libc::SIGTERM)?;
    vm.wait_exit(SOON)?.expect(5, "killed").map(drop)
}

pub(super) fn pauses(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx, code::echo(), &[])?;
    vm.console().wait_for("payload: type\n", SOON)?;
    let refused = vm.ask("unpause")?;
    ensure!(refused.status == 409 && refused.text.contains("VMI is not paused"), "unpause: {refused:?}");
    let mut fastest = Duration::MAX;
    for letter in ["1", "2", "3", "4", "5"] {
        let begin = Instant::now();
        vm.operate("pause")?;
        fastest = fastest.min(begin.elapsed());
        ensure!(is_paused(&vm.status_file()?["status"]), "the status is published before the answer");
        vm.type_in(letter)?;
        thread::sleep(A_WHILE);
        ensure!(!vm.console().text().contains(letter), "a paused guest wrote {letter}");
        vm.operate("unpause")?;
        vm.console().wait_for(letter, SOON)?;
    }
    ensure!(fastest < Duration::from_secs(1), "the fastest of five pauses took {fastest:?}");
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

/// A guest that does not listen is restarted by force, when its second is over; a reset does not wait for it.
pub(super) fn restarts(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx, code::halt(), &[])?;
    let greeting = "payload: halts\n";
    vm.console().wait_for(greeting, SOON)?;
    vm.operate("reset")?;
    vm.console().wait_for_times(greeting, 2, SOON)?;
    vm.operate("softreboot")?;
    vm.signal(libc::SIGTERM)?;
    let ended = vm.wait_exit(SOON)?;
    let report = ended.expect(5, "killed")?;
    ensure!(report.reboots == 1, "{} reboots", report.reboots);
    let phase = &vm.status_file()?["status"]["phase"];
    ensure!(phase == "Failed", "a guest that did not power off in time is {phase}");
    Ok(())
}

/// A guest that waits for nothing costs nothing: no thread of the process wakes up.
pub(super) fn idle_sleeps(ctx: &Ctx) -> Outcome {
    const IDLE: Duration = Duration::from_secs(6);
    ctx.claim("data", 1 << 20, 1)?;
    let manifest = Manifest::bare("payload").memory("64Mi").grace(0).claim("data", "data", json!({}));
    let mut vm = start_as(ctx, &manifest, code::halt(), &[])?;
    vm.console().wait_for("payload: halts\n", SOON)?;
    // What began with the machine comes to its end first; a timer would not.
    let mut now = wakeups(vm.pid())?;
    until("rest", || {
        thread::sleep(IDLE);
        let before = std::mem::replace(&mut now, wakeups(vm.pid())?);
        if before != now {
            ctx.note(&format!("threads woke up within {IDLE:?}: {before:?} became {now:?}"));
        }
        Ok(before == now)
    })?;
    vm.signal(libc::SIGTERM)?;
    vm.wait_exit(SOON)?.expect(5, "killed").map(drop)
}

/// How often each thread of a process went to sleep by itself.
fn wakeups(pid: u32) -> Result<Vec<(String, u64)>, Failure> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).doing("listing threads")?.flatten() {
        // One that has just ended has none.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        let count = field("voluntary_ctxt_switches:").parse().doing("reading a thread's wake-ups")?;
        threads.push((field("Name:"), count));
    }
    threads.sort();
    Ok(threads)
}
