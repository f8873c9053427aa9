//! Machines that are operated while they run: pause, reset, restart, and what their status says meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use guest::protocol::{READY, Request};
use serde_json::json;

use crate::agent::Agent;
use crate::api;
use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{BOOT, END, Vm};
use crate::wait::until;

pub(super) const CASES: &[Case] = &[
    Case::host("life-pause-under-load", under_load).within(480),
    Case::host("life-guest-sees-pauses", seen).within(300),
    Case::host("life-starts-paused", starts_paused).within(480),
    Case::host("life-watch", watch).within(300),
];

/// How long a machine is paused.
const PAUSE: Duration = Duration::from_secs(6);
/// By how much the time may be wrong that the guest sees of it: as long as a busy machine takes to ask the guest.
const SLACK: Duration = Duration::from_secs(3);

fn linux(ctx: &Ctx) -> Manifest {
    Manifest::linux("vm", &ctx.guest_image(), "vmlinux")
}

/// Time since the guest's boot by its own clock, and when it was read.
fn uptime(agent: &mut Agent) -> Result<(Duration, Instant), Failure> {
    let text = agent.file("/proc/uptime")?;
    let seconds = text.split(' ').next().and_then(|first| first.parse().ok());
    let seconds = seconds.ok_or_else(|| Failure(format!("an odd uptime: {text:?}")))?;
    Ok((Duration::from_secs_f64(seconds), Instant::now()))
}

/// Writes that the guest's first disk has completed.
fn writes(agent: &mut Agent) -> Result<u64, Failure> {
    let text = agent.file("/sys/block/vda/stat")?;
    let count = text.split_whitespace().nth(4).and_then(|count| count.parse().ok());
    count.ok_or_else(|| Failure(format!("odd statistics: {text:?}")))
}

/// Pauses a machine for a while; by how much its guest's clock has fallen behind, and how long the pause took to
/// begin.
fn pause(vm: &mut Vm, agent: &mut Agent) -> Result<(Duration, Duration), Failure> {
    let (before, then) = uptime(agent)?;
    let asked = Instant::now();
    vm.operate("pause")?;
    let took = asked.elapsed();
    thread::sleep(PAUSE);
    vm.operate("unpause")?;
    let (after, now) = uptime(agent)?;
    Ok(((now - then).saturating_sub(after.saturating_sub(before)), took))
}

fn under_load(ctx: &Ctx) -> Outcome {
    ctx.claim("data", 16 << 20, 1)?;
    let mut vm = Vm::start(ctx, &linux(ctx).claim("data", "data", json!({})), &[])?;
    let mut agent = vm.agent()?;
    let load =
        "while :; do dd if=/dev/urandom of=/dev/vda bs=64k count=16 conv=fsync; done >/dev/null 2>&1 &";
    agent.call(&Request::Run { argv: ["sh", "-c", load].map(String::from).to_vec() })?;
    for round in 0..3 {
        let before = writes(&mut agent)?;
        let (behind, took) = pause(&mut vm, &mut agent)?;
        ctx.note(&format!("round {round}: paused in {took:?}, the guest's clock is {behind:?} behind"));
        let seen = PAUSE.saturating_sub(behind);
        ensure!(seen < SLACK, "the guest saw {seen:?} of a pause of {PAUSE:?}");
        ensure!(behind < PAUSE + SLACK, "the guest lost {behind:?}");
        until("the disk's load", || Ok(writes(&mut agent)? > before + 16))?;
    }
    let log = agent.call(&Request::Run { argv: vec!["dmesg".into()] })?;
    let log = format!("{log:?}");
    for complaint in
        ["soft lockup", "rcu_sched self-detected", "hung task", "clocksource: timekeeping watchdog"]
    {
        ensure!(!log.contains(complaint), "the guest complains: {complaint}");
    }
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

fn seen(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx), &["--guest-sees-pauses"])?;
    let mut agent = vm.agent()?;
    let (behind, _) = pause(&mut vm, &mut agent)?;
    ensure!(behind < SLACK, "the guest did not see {behind:?} of a pause that it was to see");
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

fn starts_paused(ctx: &Ctx) -> Outcome {
    let mut manifest = linux(ctx);
    manifest.set("/spec/startStrategy", json!("Paused"));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    vm.wait_status(BOOT, |status| status["phase"] == "Running")?;
    thread::sleep(Duration::from_secs(3));
    ensure!(vm.console().text().is_empty(), "a guest that is paused says {:?}", vm.console().text());
    vm.operate("unpause")?;
    vm.console().wait_for(READY, BOOT)?;
    // The guest powers off at the button, and boots again.
    vm.operate("softreboot")?;
    vm.console().wait_for_times(READY, 2, BOOT)?;
    vm.operate("reset")?;
    vm.console().wait_for_times(READY, 3, BOOT)?;
    vm.signal(libc::SIGTERM)?;
    let ended = vm.wait_exit(END)?;
    let report = ended.expect(0, "terminated")?;
    ensure!(report.reboots == 2, "{} reboots", report.reboots);
    Ok(())
}

fn watch(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx), &[])?;
    let socket = vm.runtime().join("api.sock");
    until("its socket", || Ok(socket.exists()))?;
    let path = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances?watch=true&resourceVersion=1";
    let watch = thread::spawn(move || api::call(&socket, "GET", path));
    vm.agent()?.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown")?;
    let text = watch.join().map_err(|_| "the watch panicked")?.doing("watching")?.text;
    let mut rest = text.as_str();
    for phase in ["Pending", "Scheduling", "Scheduled", "Running", "Succeeded"] {
        let at = rest.find(&format!("\"phase\":\"{phase}\",\"phaseTransitionTimestamps\""));
        let at = at.ok_or_else(|| Failure(format!("the watch does not show {phase} next: {rest}")))?;
        rest = rest.get(at..).unwrap_or_default();
    }
    Ok(())
}
