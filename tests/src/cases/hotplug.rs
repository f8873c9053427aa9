//! What changes while the guest runs: its memory, its disks.

use std::fs;
use std::path::Path;
use std::time::Duration;

use guest::pattern;
use guest::protocol::{Extent, Request};
use serde_json::{Value, json};

use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::machine;
use crate::manifest::Manifest;
use crate::vm::{BOOT, Vm};
use crate::wait::{SOON, until};

pub(super) const CASES: &[Case] = &[
    Case::host("hotplug-disk-comes-and-goes", disk),
    Case::host("hotplug-disk-survives-reboot", reboot),
    Case::host("hotplug-balloon", balloon),
];

const MIB: u64 = 1 << 20;
/// Linux waits 5 s for somebody who pressed the button by mistake, and a second more for the power.
const REMOVAL: Duration = SOON;

fn linux(ctx: &Ctx) -> Manifest {
    let mut manifest = Manifest::linux("vm", &ctx.guest_image(), "vmlinux");
    manifest.set("/metadata/annotations", json!({"kubevmm.io/hotplug-slots": "4"}));
    manifest
}

fn volume<'a>(machine: &'a Value, name: &str) -> Option<&'a Value> {
    machine["status"]["volumeStatus"].as_array()?.iter().find(|volume| volume["name"] == name)
}

fn add(folder: &Path, name: &str, claim: &str) -> Outcome {
    let source = json!({"persistentVolumeClaim": {"claimName": claim}});
    let body = json!({"name": name, "disk": {"disk": {"bus": "virtio"}}, "volumeSource": source});
    machine::subresource(folder, "PUT", "addvolume", &body)?;
    let is_ready = |machine: &Value| volume(machine, name).is_some_and(|volume| volume["phase"] == "Ready");
    machine::wait_for(folder, REMOVAL, "the guest to take the disk into use", is_ready).map(drop)
}

fn whole(name: &str) -> Extent {
    Extent { disk: name.into(), offset: 0, length: 8 * MIB }
}

/// A disk comes, is used, goes, and comes again into the same slot.
fn disk(ctx: &Ctx) -> Outcome {
    let file = ctx.claim("data", 8 * MIB, 1)?;
    let mut vm = Vm::start(ctx, &linux(ctx), &[])?;
    let mut agent = vm.agent()?;
    let folder = vm.runtime().to_owned();
    for round in 0..2u64 {
        add(&folder, "more", "data")?;
        agent.script("for i in $(seq 600); do grep -q more /sys/block/vd*/serial && exit 0; usleep 100000; done; exit 1")?;
        let expected = pattern::checksum(&fs::read(&file).doing("reading the claim")?);
        ensure!(
            agent.block_read(&whole("more"))? == expected,
            "round {round}: the guest reads something else"
        );
        if round == 1 {
            break;
        }
        agent.block_write(&whole("more"), 10)?;
        machine::subresource(&folder, "PUT", "removevolume", &json!({"name": "more"}))?;
        let machine = machine::machine(&folder)?;
        let phase = volume(&machine, "more").map(|volume| volume["phase"].clone());
        ensure!(phase.as_ref().is_some_and(|phase| phase == "Detaching"), "it is {phase:?}");
        let is_gone = |machine: &Value| volume(machine, "more").is_none();
        machine::wait_for(&folder, REMOVAL, "the guest to let the disk go", is_gone)?;
        let left = agent.script("ls /sys/block")?;
        ensure!(!left.contains("vd"), "the guest still has {left:?}");
        let mut written = vec![0; 8 << 20];
        pattern::fill(&mut written, 0, 10);
        let same = fs::read(&file).doing("reading the claim")? == written;
        ensure!(same, "what the guest wrote is not in the file");
    }
    Ok(())
}

/// A machine that is built again has what was added, and not what was to go.
fn reboot(ctx: &Ctx) -> Outcome {
    ctx.claim("data", 8 * MIB, 1)?;
    ctx.claim("other", 8 * MIB, 2)?;
    let mut vm = Vm::start(ctx, &linux(ctx), &[])?;
    let folder = vm.runtime().to_owned();
    vm.agent()?;
    add(&folder, "more", "data")?;
    add(&folder, "less", "other")?;
    machine::subresource(&folder, "PUT", "removevolume", &json!({"name": "less"}))?;
    machine::subresource(&folder, "PUT", "reset", &Value::Null)?;
    vm.console().wait_for_times(guest::protocol::READY, 2, BOOT)?;
    let mut agent = vm.agent()?;
    let serials = agent.script("cat /sys/block/vd*/serial")?;
    ensure!(serials.contains("more") && !serials.contains("less"), "the guest has {serials:?}");
    let machine = machine::machine(&folder)?;
    ensure!(volume(&machine, "less").is_none(), "{}", machine["status"]);
    agent.block_read(&whole("more")).map(drop)
}

/// Resident memory of the process in MiB.
fn resident(vm: &Vm) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{}/status", vm.pid())).doing("reading the status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().doing("reading VmRSS")?;
    Ok(kib >> 10)
}

fn balloon(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start(ctx, &linux(ctx).memory("384Mi"), &[])?;
    let folder = vm.runtime().to_owned();
    let mut agent = vm.agent()?;
    agent.call(&Request::TouchMemory { mebibytes: 100, seed: 1 })?;
    let full = resident(&vm)?;
    ensure!(full > 100, "only {full} MiB are resident");
    // What the guest has freed it reports by and by, and it comes back to the host.
    until("memory that was reported as free", || Ok(resident(&vm)? + 60 < full))?;
    // What it is asked to get by on it cannot use any more.
    machine::subresource(&folder, "PUT", "setmemory", &json!({"memory": "192Mi"}))?;
    let free = "awk '/^MemFree/{print int($2/1024)}' /proc/meminfo";
    let mut free = || agent.script(free)?.trim().parse::<u64>().doing("reading MemFree");
    until("a guest that has 192 MiB", || Ok(free()? < 180))?;
    let machine = machine::machine(&folder)?;
    ensure!(machine["status"]["memory"]["guestRequested"] == "192Mi", "{}", machine["status"]["memory"]);
    let refused = machine::subresource(&folder, "PUT", "setmemory", &json!({"memory": "1Gi"}));
    ensure!(refused.is_err(), "the guest gets more than there is");
    machine::subresource(&folder, "PUT", "setmemory", &json!({"memory": "384Mi"}))?;
    until("a guest that has 384 MiB", || Ok(free()? > 200))
}
