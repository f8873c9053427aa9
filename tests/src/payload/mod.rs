//! Payload cases: kernels of a few hundred instructions, on any KVM.

#[expect(unsafe_code, reason = "assembly is placed into this program as data")]
pub(crate) mod code;
pub(crate) mod demand;
mod dump;
pub mod elf;
mod evict;
mod fleet;
mod life;
mod metrics;
mod migrate;
pub mod migrate_bench;
mod migrate_coming;
mod migrate_devices;
mod migrate_follow;
mod migrate_hand_over;
mod migrate_object;
mod migrate_storage;
pub(crate) mod migrate_tls;
mod operate;
mod snapshot;
pub mod snapshot_bench;
mod snapshot_golden;
mod snapshot_overlay;
mod touching;

pub use fleet::CASES as FLEETS;

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::machine;
use crate::manifest::Manifest;
use crate::vm::{Ended, Vm};
use crate::wait::SOON;
use life::{idle_sleeps, pauses, restarts, starts_paused};

/// The cases of this tier that are about one machine.
pub const CASES: &[Case] = &[
    Case::payload("payload-greets-and-powers-off", greets),
    Case::payload("payload-resets-by-port", resets_by_port),
    Case::payload("payload-resets-by-keyboard-controller", resets_by_keyboard),
    Case::payload("payload-triple-fault", triple_fault),
    Case::payload("payload-pvpanic", pvpanic),
    Case::payload("payload-start-info", start_info),
    Case::payload("payload-pm-timer", pm_timer),
    Case::payload("payload-hlt-and-apic-timer", hlt_timer),
    Case::payload("payload-nothing-there", nowhere),
    Case::payload("payload-pci-scan", pci_scan),
    Case::payload("payload-types", types),
    Case::payload("payload-halted-is-killed", halted_is_killed),
    Case::payload("payload-starts-paused", starts_paused),
    Case::payload("payload-pauses", pauses),
    Case::payload("payload-restarts", restarts),
    Case::payload("payload-idle-sleeps", idle_sleeps),
    Case::payload("payload-watchdog-resets", watchdog_resets),
    Case::payload("payload-watchdog-powers-off", watchdog_powers_off),
    Case::payload("payload-slot-nobody-looks-at", slots).once(),
    Case::payload("payload-operate-verbs", operate::verbs),
    Case::payload("payload-operate-console", operate::console),
    Case::payload("payload-operate-load", operate::load).within(1800),
    Case::payload("payload-operate-metrics", metrics::metrics),
    Case::payload("payload-snapshot-chain", snapshot::chain).within(1800),
    Case::payload("payload-snapshot-stream", snapshot::stream),
    Case::payload("payload-snapshot-golden", snapshot_golden::golden),
    Case::payload("payload-snapshot-checks", snapshot::checks),
    Case::payload("payload-snapshot-incremental", snapshot::incremental),
    Case::payload("payload-snapshot-overlays", snapshot_overlay::overlays),
    Case::payload("payload-snapshot-overlay-refusals", snapshot_overlay::overlay_refusals),
    Case::payload("payload-demand-chain", demand::chain),
    Case::payload("payload-demand-served", demand::served),
    Case::payload("payload-demand-huge-pages", demand::huge_pages).alone(),
    Case::payload("payload-demand-damaged", demand::damaged).once(),
    Case::payload("payload-dump", dump::dump),
    Case::payload("payload-migrate-there-and-back", migrate::there_and_back),
    Case::payload("payload-migrate-deaths", migrate::deaths),
    Case::payload("payload-migrate-converges", migrate::converges),
    Case::payload("payload-migrate-follows", migrate_follow::follows),
    Case::payload("payload-migrate-follows-huge-pages", migrate_follow::huge_pages).alone(),
    Case::payload("payload-migrate-follows-source-dies", migrate_follow::source_dies),
    Case::payload("payload-migrate-follows-guest-ends", migrate_follow::guest_ends),
    Case::payload("payload-migrate-follows-destination-dies", migrate_follow::destination_dies),
    Case::payload("payload-migrate-on-source-is-silent", migrate_coming::source_is_silent),
    Case::payload("payload-migrate-on-source-dies", migrate_coming::source_dies),
    Case::payload("payload-migrate-follows-no-grace", migrate_follow::stays_while_needed).once(),
    Case::payload("payload-migrate-hand-over", migrate_hand_over::hand_over),
    Case::payload("payload-migrate-dies-before", migrate_hand_over::dies_before),
    Case::payload("payload-migrate-dies-behind", migrate_hand_over::dies_behind),
    Case::payload("payload-migrate-runs-elsewhere", migrate_hand_over::runs_elsewhere),
    Case::payload("payload-migrate-ends-in-doubt", migrate_hand_over::ends_in_doubt),
    Case::payload("payload-migrate-refusals", migrate::refusals),
    Case::payload("payload-migrate-copies", migrate_storage::copies),
    Case::payload("payload-migrate-added", migrate_storage::added),
    Case::payload("payload-migrate-images", migrate_storage::images),
    Case::host("payload-migrate-devices", migrate_devices::devices),
    Case::payload("payload-migrate-copy-deaths", migrate_storage::deaths).once(),
    Case::payload("payload-migrate-tls", migrate_tls::over_tls),
    Case::payload("payload-migrate-tls-memory-follows", migrate_tls::memory_follows),
    Case::payload("payload-migrate-object", migrate_object::posted),
    Case::payload("payload-migrate-evicted", evict::strategies),
    Case::payload("payload-migrate-evicted-others", evict::others_have_a_say),
    Case::payload("payload-migrate-faults", crate::faults::selection).within(1800).once(),
    Case::payload("payload-snapshot-faults", crate::faults::snapshots::selection).within(1800).once(),
    Case::payload("payload-snapshot-hostile", snapshot::hostile),
    Case::payload("payload-three-hundred-cpus", three_hundred_cpus),
    Case::payload("payload-three-hundred-gib", three_hundred_gib),
];

/// A kernel that prints a line and powers off.
#[must_use]
pub fn greeting() -> Vec<u8> {
    elf::pvh(code::greet(), 4096)
}

fn start(ctx: &Ctx, code: &[u8], args: &[&str]) -> Result<Vm, Failure> {
    start_as(ctx, &Manifest::bare("payload").memory("64Mi").grace(1), code, args)
}

/// The same of a machine of another shape.
fn start_as(ctx: &Ctx, manifest: &Manifest, code: &[u8], args: &[&str]) -> Result<Vm, Failure> {
    let kernel = ctx.scratch.join("payload.elf");
    fs::write(&kernel, elf::pvh(code, 4096)).doing("writing a payload")?;
    Vm::start(ctx, manifest, &[&["--kernel", kernel.to_string_lossy().as_ref()], args].concat())
}

/// Runs a payload that powers off; what it printed.
fn run(ctx: &Ctx, code: &[u8], args: &[&str]) -> Result<String, Failure> {
    let mut vm = start(ctx, code, args)?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    Ok(vm.console().text().replace('\r', ""))
}

fn greets(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx, code::greet(), &[])?;
    let ended = vm.wait_exit(SOON)?;
    let report = ended.expect(0, "guest-shutdown")?;
    ensure!(vm.console().text() == "payload: hello\n", "the console shows {:?}", vm.console().text());
    ensure!(report.reboots == 0, "{} reboots", report.reboots);
    let order = ["parsed", "planned", "opened", "built", "firstInstruction", "firstConsoleByte", "guestExit"];
    let stamps: Vec<u64> = order.iter().map(|name| report.milestone(name)).collect::<Result<_, _>>()?;
    ensure!(stamps.is_sorted(), "milestones are out of order: {stamps:?}");
    Ok(())
}

fn resets(ctx: &Ctx, code: &[u8]) -> Outcome {
    // Its grace period is longer than any reset takes.
    let mut vm = start_as(ctx, &Manifest::bare("payload").memory("64Mi").grace(SOON.as_secs()), code, &[])?;
    vm.console().wait_for_times("payload: again", 5, SOON)?;
    // A machine that resets once it was told to power off is not started again.
    vm.signal(libc::SIGTERM)?;
    let ended = vm.wait_exit(SOON)?;
    let report = ended.expect(0, "terminated")?;
    ensure!(report.reboots >= 4, "{} reboots", report.reboots);
    Ok(())
}

/// Sends a second signal to end it.
fn killed(vm: &mut Vm) -> Result<Ended, Failure> {
    std::thread::sleep(Duration::from_millis(100));
    if vm.is_running()? {
        vm.signal(libc::SIGTERM)?;
    }
    vm.wait_exit(SOON)
}

fn resets_by_port(ctx: &Ctx) -> Outcome {
    resets(ctx, code::reset_port())
}

fn resets_by_keyboard(ctx: &Ctx) -> Outcome {
    resets(ctx, code::reset_keyboard())
}

fn triple_fault(ctx: &Ctx) -> Outcome {
    start(ctx, code::triple_fault(), &[])?.wait_exit(SOON)?.expect(4, "triple-fault").map(drop)
}

fn pvpanic(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx, code::panic(), &[])?;
    vm.wait_exit(SOON)?.expect(4, "guest-panic")?;
    let text = vm.console().text();
    let events = u32::from_str_radix(text.trim(), 16).doing("reading the events that pvpanic offers")?;
    ensure!(events & 1 == 1, "pvpanic offers {events:#x}");
    Ok(())
}

fn start_info(ctx: &Ctx) -> Outcome {
    let initrd = ctx.scratch.join("initrd");
    fs::write(&initrd, b"first module\n\0").doing("writing an initrd")?;
    let initrd = initrd.to_string_lossy();
    let text = run(ctx, code::start_info(), &["--append", "one two=3", "--initrd", initrd.as_ref()])?;
    let lines: Vec<&str> = text.lines().collect();
    // XEN_HVM_START_MAGIC_VALUE
    ensure!(lines.first() == Some(&"336EC578"), "the magic number is {:?}", lines.first());
    ensure!(
        lines.get(1).is_some_and(|line| line.contains("one two=3")),
        "the command line is {:?}",
        lines.get(1)
    );
    ensure!(lines.get(2) == Some(&"first module"), "the first module is {:?}", lines.get(2));
    Ok(())
}

fn pm_timer(ctx: &Ctx) -> Outcome {
    let text = run(ctx, code::pm_timer(), &[])?;
    ensure!(text == "payload: the timer runs\n", "the console shows {text:?}");
    Ok(())
}

fn hlt_timer(ctx: &Ctx) -> Outcome {
    let text = run(ctx, code::hlt_timer(), &[])?;
    ensure!(text == "payload: tick\n".repeat(3), "the console shows {text:?}");
    Ok(())
}

fn nowhere(ctx: &Ctx) -> Outcome {
    let text = run(ctx, code::nowhere(), &[])?;
    ensure!(text == "FFFFFFFF\n".repeat(3), "the console shows {text:?}");
    Ok(())
}

fn pci_scan(ctx: &Ctx) -> Outcome {
    let text = run(ctx, code::pci_scan(), &[])?;
    let found: Vec<&str> = text.lines().collect();
    for pair in found.chunks(2) {
        ensure!(pair.first() == pair.get(1), "ports and ECAM do not agree: {pair:?} of {found:?}");
    }
    ensure!(found.first() == Some(&"29C08086"), "the host bridge is {:?}", found.first());
    ensure!(found.last() == Some(&"29188086"), "the LPC bridge is {:?}", found.last());
    Ok(())
}

fn types(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx, code::echo(), &[])?;
    vm.console().wait_for("payload: type\n", SOON)?;
    vm.type_in("abcq")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    let text = vm.console().text();
    ensure!(text == "payload: type\nabcq", "the console shows {text:?}");
    Ok(())
}

/// A guest that does not listen, and each signal that asks for the end.
fn halted_is_killed(ctx: &Ctx) -> Outcome {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let mut vm = start(ctx, code::halt(), &[])?;
        vm.console().wait_for("payload: halts\n", SOON)?;
        vm.signal(signal)?;
        killed(&mut vm)?.expect(5, "killed").doing(&format!("sending signal {signal}"))?;
    }
    Ok(())
}

/// More than the local APIC's old mode can name: without x2APIC from the start KVM refuses the vCPUs' identifiers.
fn three_hundred_cpus(ctx: &Ctx) -> Outcome {
    greets_as(ctx, &Manifest::bare("payload").memory("64Mi").cores(300))
}

/// Far more than any machine that tests are run on has: what the guest does not touch costs nothing.
fn three_hundred_gib(ctx: &Ctx) -> Outcome {
    greets_as(ctx, &Manifest::bare("payload").memory("300Gi"))
}

/// A machine of this shape starts, and its guest speaks.
fn greets_as(ctx: &Ctx, manifest: &Manifest) -> Outcome {
    let mut vm = start_as(ctx, manifest, code::greet(), &[])?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    ensure!(vm.console().text() == "payload: hello\n", "the console shows {:?}", vm.console().text());
    Ok(())
}

fn guarded(ctx: &Ctx, action: &str) -> Result<Vm, Failure> {
    let mut manifest = Manifest::bare("payload").memory("64Mi").grace(1);
    let watchdog = json!({"name": "dog", "i6300esb": {"action": action}});
    manifest.set("/spec/domain/devices/watchdog", watchdog);
    start_as(ctx, &manifest, code::watchdog(), &[])
}

/// A guest that hangs is reset, and can tell afterwards.
fn watchdog_resets(ctx: &Ctx) -> Outcome {
    let mut vm = guarded(ctx, "reset")?;
    let ended = vm.wait_exit(SOON)?;
    let report = ended.expect(0, "guest-shutdown")?;
    let text = vm.console().text().replace('\r', "");
    ensure!(text == "00000000\n00000200\n" && report.reboots == 1, "{} reboots, {text:?}", report.reboots);
    Ok(())
}

fn watchdog_powers_off(ctx: &Ctx) -> Outcome {
    guarded(ctx, "poweroff")?.wait_exit(SOON)?.expect(4, "hung").map(drop)
}

/// A guest that does not know of slots: what is put into one stays there until the guest lets it go, which it never does.
fn slots(ctx: &Ctx) -> Outcome {
    ctx.claim("data", 1 << 20, 1)?;
    let mut manifest = Manifest::bare("vm").memory("64Mi").grace(1);
    manifest.set("/metadata/annotations", json!({"kubevmm.io/hotplug-slots": "2"}));
    let mut vm = start_as(ctx, &manifest, code::halt(), &[])?;
    vm.console().wait_for("payload: halts\n", SOON)?;
    let folder = vm.runtime().to_owned();
    let add = |name: &str| {
        let source = json!({"persistentVolumeClaim": {"claimName": "data"}});
        json!({"name": name, "disk": {"disk": {"bus": "virtio"}}, "volumeSource": source})
    };
    let volume = |machine: &Value, key: &str| machine["status"]["volumeStatus"][0][key].to_string();
    machine::subresource(&folder, "PUT", "addvolume", &add("more"))?;
    let machine = machine::machine(&folder)?;
    ensure!(volume(&machine, "phase").contains("AttachedToNode"), "{}", machine["status"]);
    let twice = machine::subresource(&folder, "PUT", "addvolume", &add("more"));
    ensure!(twice.is_err(), "a name is taken twice");
    let locked = machine::subresource(&folder, "PUT", "addvolume", &add("other"));
    ensure!(locked.is_err(), "an image is opened twice");
    let nobody = json!({"name": "nobody"});
    ensure!(
        machine::subresource(&folder, "PUT", "removevolume", &nobody).is_err(),
        "it removes what is not there"
    );
    machine::subresource(&folder, "PUT", "removevolume", &json!({"name": "more"}))?;
    let again = machine::subresource(&folder, "PUT", "removevolume", &json!({"name": "more"}));
    ensure!(again.is_err(), "asking again would take the question back");
    let late = |machine: &Value| volume(machine, "message").contains("not let");
    let machine = machine::wait_for(&folder, SOON, "the guest to be late", late)?;
    ensure!(volume(&machine, "phase").contains("Detaching"), "{}", machine["status"]);
    vm.signal(libc::SIGTERM)?;
    killed(&mut vm)?.expect(5, "killed").map(drop)
}
