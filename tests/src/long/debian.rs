//! Debian with systemd as the guest: its disk is the test host's, its kernel and initramfs are given.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use guest::sys;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::case::Ctx;
use crate::failure::{Doing, Failure};
use crate::host::{DEBIAN_DISK, DEBIAN_INITRD, WORK_DISK};
use crate::manifest::Manifest;

/// Where the disk for work is mounted.
pub(super) const WORK: &str = "/tmp/work";
/// How long the guest may take until its service answers: an emulated processor emulates another.
pub(super) const BOOT: Duration = Duration::from_secs(1500);
/// Pauses between looks at something that takes minutes.
const PAUSE: Duration = Duration::from_secs(2);

/// A machine with Debian's disk.
pub(super) fn machine() -> Manifest {
    let mut manifest = Manifest::bare("vm").memory("768Mi").cores(2).claim("root", "debian", json!({}));
    manifest.set("/spec/domain/devices/rng", json!({}));
    manifest.set("/spec/hostname", json!("oracle"));
    manifest
}

/// The options that boot it.
pub(super) fn options(ctx: &Ctx) -> [String; 6] {
    let (kernel, initrd) = (ctx.guest("boot/vmlinux"), Path::new(WORK).join(DEBIAN_INITRD));
    let command_line = "console=ttyS0 panic=-1 quiet mitigations=off net.ifnames=0";
    [
        "--kernel".into(),
        kernel.display().to_string(),
        "--initrd".into(),
        initrd.display().to_string(),
        "--append".into(),
        command_line.into(),
    ]
}

/// Mounts the disk for work and makes Debian's disk a claim.
pub(super) fn prepare(ctx: &Ctx) -> Result<(), Failure> {
    fs::create_dir_all(WORK)?;
    sys::mount(WORK_DISK, WORK, "ext4", false).doing("mounting the disk for work")?;
    fs::create_dir_all(ctx.volumes())?;
    symlink(DEBIAN_DISK, ctx.volumes().join("debian")).doing("linking a claim")
}

/// A list of the machine and other objects, as one manifest.
pub(super) fn with_objects(machine: Manifest, objects: Vec<Value>) -> Manifest {
    let mut items = vec![machine.0];
    items.extend(objects);
    Manifest(json!({"apiVersion": "v1", "kind": "List", "items": items}))
}

/// Waits until a script succeeds in the guest, however often it has to be tried; its output.
pub(super) fn until(agent: &mut Agent, script: &str, limit: Duration) -> Result<String, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        match agent.script(script) {
            Ok(text) => return Ok(text),
            Err(failure) if Instant::now() > deadline => return Err(failure),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
