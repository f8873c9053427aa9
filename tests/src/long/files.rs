//! A machine that is killed while its guest writes files: file system and image are sound, and what was synced is there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use guest::protocol::{FIRST_LINE, Request};
use serde_json::json;

use super::file_load::{Load, MOUNT};
use super::kill::while_killing;
use super::{FILES_IMAGE, fsck};
use crate::agent::Agent;
use crate::case::Ctx;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{END, Vm};

/// How often the machine is killed.
const KILLS: u64 = 10;
/// How often a start is tried.
const STARTS: u64 = 3;
/// What the guest's kernel must not say.
const COMPLAINTS: &str = "EXT4-fs (error|warning)|EXT4-fs .*(error|corrupt)|JBD2: .*(error|fail)|I/O error";

/// Ten times: boot, mount, look at what the kill before has left, write, kill, have image and file system checked.
pub(super) fn kill(ctx: &Ctx) -> Outcome {
    fsck::mount_tools()?;
    let image = ctx.volumes().join("data/disk.qcow2");
    fs::create_dir_all(ctx.volumes().join("data"))?;
    fsck::convert(ctx, &Path::new(fsck::TOOLS).join(FILES_IMAGE), &image, "qcow2")?;
    // Else each write would be durable at once here, on a tmpfs, and what the guest flushes would not matter.
    let cache = json!({"cache": "writeback"});
    let manifest = Manifest::linux("vm", &ctx.guest_image(), "vmlinux").claim("data", "data", cache);
    let mut load = Load::default();
    for round in 0..KILLS {
        let (mut vm, agent) = boot(ctx, &manifest, &load, round > 0)?;
        let before = load.synced();
        // Some of them within a group, some within its sync, some when the journal is written back by itself.
        let after = Duration::from_millis(1300 + 730 * round);
        while_killing(&vm, after, || load.write_until_killed(agent))?;
        // It has been killed: this only waits for its end.
        vm.wait_exit(END)?;
        ctx.note(&format!("kill {}: {} files synced since the boot", round + 1, load.synced() - before));
        check(ctx, &image).doing("after the kill")?;
    }
    let (mut vm, mut agent) = boot(ctx, &manifest, &load, true)?;
    agent.run_ok(&format!("umount {MOUNT}"))?;
    agent.send(&Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown")?;
    ensure!(load.synced() > 0, "no file was ever synced");
    check(ctx, &image).doing("after an orderly end")
}

/// Boots the guest, which mounts the file system and reads all that was written before.
fn boot(ctx: &Ctx, manifest: &Manifest, load: &Load, was_killed: bool) -> Result<(Vm, Agent), Failure> {
    let (vm, mut agent) = start(ctx, manifest)?;
    let disk = agent.script("grep -l '^data$' /sys/block/*/serial | cut -d / -f 4")?;
    agent.script(&format!("mkdir {MOUNT} && mount -t ext4 /dev/{} {MOUNT}", disk.trim()))?;
    let found = load.verify(&mut agent).doing("at boot, in the guest")?;
    ctx.note(&format!("at boot: {found:?}"));
    let log = agent.run_ok("dmesg")?;
    ensure!(
        log.contains("recovery complete") == was_killed,
        "a file system that was killed is one whose journal is replayed: {was_killed}"
    );
    let complaints = agent.script(&format!("dmesg | grep -E '{COMPLAINTS}' || true"))?;
    ensure!(complaints.is_empty(), "the guest's kernel complains: {complaints}");
    Ok((vm, agent))
}

/// Starts the machine, and again if its guest does not get to user space, where it has its first look at the disk: for
/// that, the image can have done nothing, but QEMU's software CPU hangs now and then.
fn start(ctx: &Ctx, manifest: &Manifest) -> Result<(Vm, Agent), Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut vm = Vm::start(ctx, manifest, &[])?;
        let failure = match vm.agent() {
            Ok(agent) => return Ok((vm, agent)),
            Err(failure) => failure,
        };
        let hangs = vm.is_running()? && !vm.console().text().contains(FIRST_LINE);
        if !hangs || tries == STARTS {
            return Err(failure);
        }
        ctx.note(&format!("the guest hangs before user space, and is started once more: {failure}"));
    }
}

fn check(ctx: &Ctx, image: &Path) -> Outcome {
    ctx.note(&format!("image check: {}", fsck::image(ctx, image)?));
    ctx.note(&format!("e2fsck: {}", fsck::file_system(ctx, image)?));
    Ok(())
}
