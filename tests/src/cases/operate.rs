//! Every verb that needs a guest, as a person types it, beside a stock kernel with Debian's agent.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use guest::protocol::READY;
use serde_json::{Value, json};

use super::agent::{connected, disk, manifest};
use super::tools::{tap, tool};
use crate::case::{Case, Ctx};
use crate::commands::{expect, says};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::machine;
use crate::vm::{BOOT, END, Vm};
use crate::wait::SOON;

pub(super) const CASES: &[Case] = &[Case::host("every-verb-beside-linux", verbs).within(600)];

const MIB: u64 = 1 << 20;
const LAN: &str = "02:00:00:aa:bb:0a";
const BLUE: &str = "02:00:00:aa:bb:0b";

fn verbs(ctx: &Ctx) -> Outcome {
    tap("tap0", "10.77.0.1/24")?;
    // The card that is added is on a bridge, of which it gets a port while the machine runs.
    tool("ip", &["link", "add", "name", "br0", "type", "bridge"])?;
    tool("ip", &["addr", "add", "10.78.0.1/24", "dev", "br0"])?;
    tool("ip", &["link", "set", "br0", "up"])?;
    disk(ctx)?;
    let more = ctx.claim("more", 8 * MIB, 1)?;
    let mut manifest = manifest(ctx, "").tap("lan", LAN).claim("data", "data", json!({}));
    manifest.set("/metadata/annotations", json!({"kubevmm.io/hotplug-slots": "2"}));
    let mut vm = Vm::start_with_agent(ctx, &manifest, &["--tap", "lan=tap0", "--multus", "blue=br0"])?;
    connected(&vm)?;
    asks_the_agent(ctx)?;
    holds_it_back(ctx)?;
    memory(ctx)?;
    expect(ctx, 0, &["disk", "add", "vm", "more", "--wait"], "is put into a slot")?;
    expect(ctx, 1, &["addvolume", "vm", "--volume-name=more"], "has a volume \"more\" already")?;
    expect(ctx, 1, &["disk", "add", "vm", "absent"], "absent")?;
    expect(ctx, 0, &["nic", "add", "vm", "blue", "--mac", BLUE, "--wait"], "is put into a slot")?;
    expect(ctx, 1, &["nic", "add", "vm", "red"], "slots are taken")?;
    grown(ctx, &File::options().write(true).open(more)?)?;
    cables(ctx)?;
    gone(ctx, &vm)?;
    expect(ctx, 0, &["top", "vm"], "vm")?;
    let core = ctx.scratch.join("core");
    let said = says(ctx, 0, &["dump", "vm", &core.to_string_lossy()])?;
    ensure!(!said.contains("no vmcoreinfo"), "{said}");
    core_is_of_linux(ctx, &core)?;
    let events = says(ctx, 0, &["events", "vm"])?;
    for reason in ["VolumeReady", "VolumeDetached", "InterfaceReady", "InterfaceDetached", "Paused"] {
        ensure!(events.contains(reason), "no {reason} among {events}");
    }
    expect(ctx, 0, &["reset", "vm"], "is reset")?;
    vm.console().wait_for_times(READY, 2, BOOT)?;
    expect(ctx, 0, &["logs", "vm"], READY)?;
    expect(ctx, 0, &["stop", "vm"], "is stopped")?;
    vm.wait_exit(END)?.expect(0, "terminated").map(drop)
}

fn asks_the_agent(ctx: &Ctx) -> Outcome {
    expect(ctx, 0, &["wait", "vm", "--for=condition=AgentConnected"], "condition met")?;
    expect(ctx, 0, &["guestosinfo", "vm"], "agent-guest")?;
    expect(ctx, 0, &["userlist", "vm"], "USER")?;
    expect(ctx, 0, &["fslist", "vm"], "/mnt")?;
    expect(ctx, 0, &["exec", "vm", "--", "uname", "-s"], "Linux\n")?;
    expect(ctx, 5, &["exec", "vm", "--", "sh", "-c", "exit 5"], "")?;
    expect(ctx, 0, &["freeze", "vm"], "are frozen")?;
    expect(ctx, 1, &["exec", "vm", "--", "true"], "frozen")?;
    expect(ctx, 0, &["unfreeze", "vm"], "are unfrozen")
}

fn holds_it_back(ctx: &Ctx) -> Outcome {
    expect(ctx, 0, &["pause", "vm"], "is paused")?;
    expect(ctx, 1, &["exec", "vm", "--", "true"], "paused")?;
    expect(ctx, 0, &["ps"], "Paused")?;
    expect(ctx, 0, &["unpause", "vm"], "goes on")
}

fn memory(ctx: &Ctx) -> Outcome {
    expect(ctx, 0, &["set-memory", "vm", "192Mi"], "192Mi")?;
    expect(ctx, 0, &["status", "vm", "-o", "yaml"], "guestRequested: 192Mi")?;
    expect(ctx, 1, &["set-memory", "vm", "64Gi"], "")?;
    expect(ctx, 2, &["set-memory", "vm"], "512Mi")?;
    let free = "awk '/^MemFree/ {exit $2 / 1024 < 180 ? 0 : 1}' /proc/meminfo";
    until(ctx, free)
}

/// The guest sees the disk that was added, and that its image has grown.
fn grown(ctx: &Ctx, image: &File) -> Outcome {
    until(ctx, "grep -q more /sys/block/*/serial")?;
    image.set_len(16 * MIB).doing("growing the claim")?;
    expect(ctx, 0, &["disk", "resize", "vm", "more"], "how large")?;
    until(ctx, "grep -qx 32768 /sys/block/$(basename $(dirname $(grep -l more /sys/block/*/serial)))/size")
}

/// Frames go through the card that was added while its cable is in.
fn cables(ctx: &Ctx) -> Outcome {
    let ping = "ping -c 1 -W 5 10.78.0.1";
    until(ctx, &format!("grep -qx {BLUE} /sys/class/net/eth1/address"))?;
    until(ctx, &format!("ip addr add 10.78.0.2/24 dev eth1; ip link set eth1 up; {ping}"))?;
    expect(ctx, 0, &["nic", "link", "vm", "blue", "down"], "is down")?;
    until(ctx, "grep -qx 0 /sys/class/net/eth1/carrier")?;
    expect(ctx, 0, &["status", "vm", "-o", "yaml"], "linkState: down")?;
    expect(ctx, 0, &["nic", "link", "vm", "blue", "up"], "is up")?;
    until(ctx, ping)?;
    expect(ctx, 1, &["nic", "link", "vm", "red", "up"], "no network card")?;
    expect(ctx, 1, &["nic", "remove", "vm", "lan"], "was there when the machine started")
}

/// The guest lets both go, which it takes some seconds for.
fn gone(ctx: &Ctx, vm: &Vm) -> Outcome {
    expect(ctx, 0, &["nic", "remove", "vm", "blue"], "was asked")?;
    expect(ctx, 1, &["removevolume", "vm", "--volume-name=data"], "was there when the machine started")?;
    expect(ctx, 0, &["removevolume", "vm", "--volume-name=more", "--wait"], "was asked")?;
    let has = |machine: &Value, list: &str| {
        machine.pointer(list).is_some_and(|list| list.to_string().contains("blue"))
    };
    let machine = machine::wait_for(vm.runtime(), END, "the card to go", |machine| {
        !has(machine, "/status/interfaces")
    })?;
    ensure!(
        !has(&machine, "/spec/domain/devices/interfaces") && !has(&machine, "/spec/networks"),
        "{machine}"
    );
    let ports = tool("ip", &["link", "show", "master", "br0"])?;
    ensure!(ports.trim().is_empty(), "the bridge still has the port {ports:?}");
    until(ctx, "! test -e /sys/class/net/eth1 && ! grep -q more /sys/block/*/serial")
}

/// The notes, which come first, have what the guest's kernel says of itself.
fn core_is_of_linux(ctx: &Ctx, path: &Path) -> Outcome {
    let mut notes = Vec::new();
    File::open(path)?.take(64 << 10).read_to_end(&mut notes).doing("reading the core")?;
    let release = format!("OSRELEASE={}", says(ctx, 0, &["exec", "vm", "--", "uname", "-r"])?);
    let is_there = notes.windows(release.len()).any(|part| part == release.as_bytes());
    ensure!(is_there, "the core does not have {release:?}");
    Ok(())
}

/// Waits until a shell's script succeeds in the guest.
fn until(ctx: &Ctx, script: &str) -> Outcome {
    let deadline = Instant::now() + SOON;
    loop {
        match says(ctx, 0, &["exec", "vm", "--", "sh", "-c", script]) {
            Ok(_) => return Ok(()),
            Err(_) if Instant::now() < deadline => {}
            Err(Failure(why)) => return Err(Failure(format!("{script:?} does not come to succeed: {why}"))),
        }
    }
}
