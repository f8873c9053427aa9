//! Ends of a machine and what the process says of them.

use std::thread;
use std::time::{Duration, Instant};

use guest::protocol::{READY, Request};

use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Outcome};
use crate::manifest::Manifest;
use crate::vm::{BOOT, END, Vm};

pub(super) const CASES: &[Case] = &[
    Case::host("life-power-off", power_off),
    Case::host("life-reboots", |ctx| reboots(ctx, 4)).within(300),
    Case::long("life-reboots-ten-times", 10, |ctx| reboots(ctx, 10)),
    Case::host("life-power-button", power_button),
    Case::host("life-second-signal-kills", second_signal),
    Case::host("life-grace-period-ends", grace_period),
    Case::host("life-panic", panic),
    Case::host("life-triple-fault", triple_fault),
    Case::host("life-two-machines", two_machines).within(300),
];

fn linux(ctx: &Ctx) -> Manifest {
    Manifest::linux("vm", &ctx.guest_image(), "vmlinux")
}

fn power_off(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx), &[])?;
    vm.agent()?.send(&Request::PowerOff)?;
    let ended = vm.wait_exit(END)?;
    let report = ended.expect(0, "guest-shutdown")?;
    let (first, end) = (report.milestone("firstInstruction")?, report.milestone("guestExit")?);
    ensure!(first < end, "the guest ended at {end} before it began at {first}");
    ensure!(ended.errors.contains("parsed"), "--timings printed no milestones: {:?}", ended.errors);
    let mut left: Vec<_> = std::fs::read_dir(vm.runtime())
        .doing("looking into the runtime directory")?
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    ensure!(left == ["events.jsonl", "lock", "vmi.json"], "runtime files are left: {left:?}");
    let vmi = vm.status_file()?;
    ensure!(vmi["status"]["phase"] == "Succeeded", "the last status is {}", vmi["status"]);
    Ok(())
}

/// Reboots so often; nothing may be left over of the machines before.
fn reboots(ctx: &Ctx, times: usize) -> Outcome {
    ctx.claim("data", 1 << 20, 1)?;
    let manifest = linux(ctx).claim("data", "data", serde_json::json!({}));
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    let mut prints = Vec::new();
    let mut boots = std::collections::BTreeSet::new();
    for round in 0..=times {
        vm.console().wait_for_times(READY, round + 1, BOOT)?;
        let mut agent = vm.agent()?;
        boots.insert(agent.identity()?.boot_id);
        prints.push(vm.footprint()?);
        if round < times {
            agent.send(&Request::Reboot)?;
        }
    }
    ensure!(boots.len() == times + 1, "{} boots were told apart", boots.len());
    ctx.note(&format!("{prints:#?}"));
    // The first reboots may fault in code that was not used before; from then on nothing may grow.
    if let (Some(early), Some(late)) = (prints.get(2), prints.last()) {
        ensure!(early.descriptors == late.descriptors, "descriptors went from {early:?} to {late:?}");
        ensure!(
            late.beside_guest_kib <= early.beside_guest_kib + 128,
            "memory beside the guest's went from {early:?} to {late:?}"
        );
    }
    vm.agent()?.send(&Request::PowerOff)?;
    let ended = vm.wait_exit(END)?;
    let report = ended.expect(0, "guest-shutdown")?;
    ensure!(u64::try_from(times) == Ok(report.reboots), "{} reboots were counted", report.reboots);
    Ok(())
}

fn power_button(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx), &[])?;
    vm.console().wait_for(READY, BOOT)?;
    vm.signal(libc::SIGTERM)?;
    let ended = vm.wait_exit(END)?;
    ensure!(ended.code == Some(0), "it ended with {ended:?}");
    vm.console().wait_for("power button pressed", END)
}

fn second_signal(ctx: &Ctx) -> Outcome {
    let manifest = linux(ctx).kernel_args("guest.button=ignore");
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    vm.console().wait_for(READY, BOOT)?;
    vm.signal(libc::SIGTERM)?;
    thread::sleep(Duration::from_secs(2));
    ensure!(vm.is_running()?, "the first signal ended it");
    let asked = Instant::now();
    vm.signal(libc::SIGTERM)?;
    let ended = vm.wait_exit(END)?;
    ensure!(ended.code == Some(5), "it ended with {ended:?}");
    ctx.note(&format!("killed in {:?}", asked.elapsed()));
    Ok(())
}

fn grace_period(ctx: &Ctx) -> Outcome {
    let manifest = linux(ctx).grace(3).kernel_args("guest.button=ignore");
    let mut vm = Vm::start(ctx, &manifest, &[])?;
    vm.console().wait_for(READY, BOOT)?;
    let asked = Instant::now();
    vm.signal(libc::SIGTERM)?;
    let ended = vm.wait_exit(END)?;
    ensure!(ended.code == Some(5), "it ended with {ended:?}");
    let waited = asked.elapsed();
    ensure!(waited > Duration::from_secs(2), "it waited only {waited:?} of a grace period of 3 s");
    Ok(())
}

fn panic(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx), &[])?;
    vm.agent()?.send(&Request::Panic)?;
    vm.wait_exit(END)?.expect(4, "guest-panic").map(drop)
}

fn triple_fault(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx).kernel_args("reboot=t"), &[])?;
    vm.agent()?.send(&Request::Reboot)?;
    vm.wait_exit(END)?.expect(4, "triple-fault").map(drop)
}

fn two_machines(ctx: &Ctx) -> Outcome {
    let named = |name: &str| Manifest::linux(name, &ctx.guest_image(), "vmlinux");
    let (mut one, mut two) = (Vm::start(ctx, &named("one"), &[])?, Vm::start(ctx, &named("two"), &[])?);
    let (mut first, mut second) = (one.agent()?, two.agent()?);
    let (a, b) = (first.identity()?, second.identity()?);
    ensure!(a.boot_id != b.boot_id && a.uuid != b.uuid, "they are the same: {a:?} and {b:?}");
    first.send(&Request::PowerOff)?;
    one.wait_exit(END)?.expect(0, "guest-shutdown")?;
    second.identity()?;
    second.send(&Request::PowerOff)?;
    two.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}
