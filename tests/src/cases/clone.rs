//! A guest with an agent becomes another one: frozen, copied, brought back under another name beside itself.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::agent::{connected, disk, manifest};
use super::tools::{busybox, tap, tool};
use crate::case::{Case, Ctx};
use crate::commands::{expect, kubevmm, says};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::{BOOT, Vm};
use crate::wait::until;

pub(super) const CASES: &[Case] = &[Case::host("snapshot-clone", clone).within(600)];

const MAC: &str = "02:00:00:aa:bb:07";
/// What is written to the disk, and stays in the guest's memory until it is frozen or a long time has passed.
const HELD: &str = "held back by the guest";
const MORE: &str = "02:00:00:aa:bb:08";

fn clone(ctx: &Ctx) -> Outcome {
    tap("tap0", "10.77.0.1/24")?;
    tool("ip", &["link", "add", "name", "br0", "type", "bridge"])?;
    disk(ctx)?;
    let mut manifest = manifest(ctx, "address=10.77.0.2/24").tap("lan", MAC).claim("data", "data", json!({}));
    manifest.set("/metadata/annotations", json!({"kubevmm.io/hotplug-slots": "1"}));
    let vm = Vm::start_with_agent(ctx, &manifest, &["--tap", "lan=tap0"])?;
    connected(&vm)?;
    run(ctx, "vm", "echo 0123456789abcdef0123456789abcdef > /etc/machine-id")?;
    let first = saved(ctx, "first", &["--copy-disks", "--no-freeze"])?;
    ensure!(!holds(&first)?, "the disk has what nobody has flushed");
    let second = saved(ctx, "second", &["--copy-disks"])?;
    ensure!(holds(&second)?, "the disk has not what was written before it was frozen");
    for (directory, words) in [(&first, "Online, NoGuestAgent"), (&second, "Online, GuestAgent")] {
        let text = says(ctx, 0, &["snapshot", "inspect", &directory.to_string_lossy()])?;
        ensure!(text.contains(words), "it is not {words}: {text}");
    }
    // Who froze it has thawed it.
    run(ctx, "vm", "touch /mnt/after")?;
    let last = saved(ctx, "last", &["--freeze", "--copy-disks", "--stop"])?;
    let mut vm = vm;
    vm.wait_exit(BOOT)?.expect(0, "saved")?;
    without_agent(ctx)?;
    let (disk, options) = ("data", ["--tap", "lan=tap0", "--multus", "more=br0"]);
    let mut clone = Vm::restore(ctx, ("clone", "clone"), &last, &options)?;
    taken_over(ctx, &clone)?;
    run(ctx, "clone", "touch /mnt/of-the-clone && sync").doing(&format!("writing to {disk}"))?;
    busybox(&["ping", "-c", "3", "-W", "5", "10.77.0.2"])?;
    // What was said of networks at the first start is to be said again.
    expect(ctx, 0, &["nic", "add", "clone", "more", "--mac", MORE, "--wait"], "is put into a slot")?;
    clone.type_in("poweroff -f\n")?;
    clone.wait_exit(BOOT)?.expect(0, "guest-shutdown").map(drop)
}

/// A machine whose agent's port is left to others cannot be frozen, and says so.
fn without_agent(ctx: &Ctx) -> Outcome {
    let last = ctx.scratch.join("last");
    let mut alone = Vm::restore(
        ctx,
        ("alone", "alone"),
        &last,
        &["--tap", "lan=tap0", "--agent-socket", "--same-identity", "--mac", "lan=02:00:00:aa:bb:09"],
    )?;
    alone.wait_status(BOOT, |status| status["phase"] == "Running")?;
    let refused =
        says(ctx, 1, &["snapshot", "alone", &ctx.scratch.join("none").to_string_lossy(), "--freeze"])?;
    ensure!(refused.contains("cannot be frozen") && refused.contains("--agent-socket"), "it says {refused}");
    ensure!(!ctx.scratch.join("none").exists(), "something is left of the snapshot");
    let card = alone.status_file()?.pointer("/status/interfaces/0/mac").cloned().unwrap_or_default();
    ensure!(card == "02:00:00:aa:bb:09", "the card that was given an address has {card}");
    says(ctx, 0, &["stop", "alone", "--force"])?;
    alone.wait_exit(BOOT).map(drop)
}

/// Writes something in the guest and takes a snapshot.
fn saved(ctx: &Ctx, name: &str, options: &[&str]) -> Result<std::path::PathBuf, Failure> {
    run(ctx, "vm", &format!("echo '{HELD}' > /mnt/{name}"))?;
    let directory = ctx.scratch.join(name);
    let place = directory.to_string_lossy();
    let said = says(ctx, 0, &[&["snapshot", "vm", &place], options].concat())?;
    ctx.note(said.trim());
    Ok(directory)
}

/// Whether the copy of the disk has what was written to it last.
fn holds(directory: &Path) -> Result<bool, Failure> {
    let bytes = fs::read(directory.join("disk-data.raw"))?;
    Ok(bytes.windows(HELD.len()).any(|window| window == HELD.as_bytes()))
}

/// The clone's guest has another name, another address and another machine ID.
fn taken_over(ctx: &Ctx, clone: &Vm) -> Outcome {
    until("another identity", || {
        // It takes a moment until there is somebody to ask.
        let said = kubevmm(ctx, &["events", "clone"], "")?;
        Ok(String::from_utf8_lossy(&said.stdout).contains("IdentityChanged"))
    })?;
    let planned = |machine: &Value| machine.pointer("/status/interfaces/0/mac").cloned().unwrap_or_default();
    let planned = planned(&clone.status_file()?);
    let mac = run(ctx, "clone", "cat /sys/class/net/eth0/address")?;
    ensure!(planned == mac.trim() && mac.trim() != MAC, "the card has {mac}, its plan says {planned}");
    let name = run(ctx, "clone", "hostname")?;
    ensure!(name.trim() == "clone", "its name is {name}");
    let id = run(ctx, "clone", "cat /etc/machine-id")?;
    ensure!(id.trim().len() == 32 && !id.starts_with("0123"), "its machine ID is {id}");
    Ok(())
}

/// Has the agent run a shell's script.
fn run(ctx: &Ctx, machine: &str, script: &str) -> Result<String, Failure> {
    says(ctx, 0, &["exec", machine, "--", "sh", "-c", script])
}
