//! Machines whose disks stay as they are in a snapshot.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{SOON, code, elf};
use crate::case::Ctx;
use crate::commands::says;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::faults::witness::{fresh_disk, last_number};
use crate::manifest::Manifest;
use crate::vm::Vm;

/// A number that the guest has come to.
fn number(vm: &mut Vm) -> Result<u32, Failure> {
    let before = vm.console().text().matches('\n').count();
    vm.type_in(".")?;
    vm.console().wait_for_times("\n", before + 1, SOON)?;
    let text = vm.console().text().replace('\r', "");
    ensure!(!text.contains("wrong"), "the guest says {text:?}");
    let line = text.lines().nth(before).unwrap_or_default().to_owned();
    u32::from_str_radix(line.trim(), 16).doing("reading a number")
}

fn quit(vm: &mut Vm) -> Outcome {
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    ensure!(!vm.console().text().contains("wrong"), "the guest says {:?}", vm.console().text());
    Ok(())
}

/// The last number on a disk, made one image of it and of what is `below` it as the documentation says. Where there is qemu-img, that
/// has to find the same.
fn last_on(ctx: &Ctx, image: &Path, below: &[&Path]) -> Result<u32, Failure> {
    let (flat, raw) = (ctx.scratch.join("flat.qcow2"), ctx.scratch.join("flat.raw"));
    let convert = |from: &Path, to: &Path, kind: &str, below: &[&Path]| -> Outcome {
        let mut command = crate::vm::command(ctx);
        command.args(["image", "convert", "-f", "qcow2", "-O", kind]);
        for base in below {
            let kind = if base.extension().is_some_and(|kind| kind == "img") { "raw" } else { "qcow2" };
            command.arg("--backing").arg(format!("{kind}:{}", base.display()));
        }
        let converted = command.args([from, to]).output()?;
        ensure!(converted.status.success(), "it says {}", String::from_utf8_lossy(&converted.stderr));
        Ok(())
    };
    convert(image, &flat, "qcow2", below)?;
    convert(&flat, &raw, "raw", &[])?;
    let last = last_number(&raw)?;
    if let Ok(checked) = Command::new("qemu-img").arg("check").arg(image).output() {
        ensure!(checked.status.success(), "qemu-img finds {}", String::from_utf8_lossy(&checked.stdout));
        let convert = ["convert", "-f", "qcow2", "-O", "raw"];
        let converted = Command::new("qemu-img").args(convert).args([image, &raw]).output()?;
        ensure!(converted.status.success(), "qemu-img says {}", String::from_utf8_lossy(&converted.stderr));
        let theirs = last_number(&raw)?;
        ensure!(theirs == last, "qemu-img finds {theirs}, not {last}");
    }
    Ok(last)
}

/// Two snapshots leave the disk as it is at their moments while the guest writes on: clones of each see that, several at once, and
/// the next start of the manifest finds the newest state.
pub(super) fn overlays(ctx: &Ctx) -> Outcome {
    let folder = ctx.volumes().join("data");
    fresh_disk(&folder.join("disk.img"))?;
    let kernel = ctx.scratch.join("payload.elf");
    fs::write(&kernel, elf::pvh(code::writes(), 4096)).doing("writing a payload")?;
    let kernel = kernel.to_string_lossy();
    let manifest = Manifest::bare("payload").memory("64Mi").grace(1).claim("data", "data", json!({}));
    let mut vm = Vm::start(ctx, &manifest, &["--kernel", &kernel])?;
    vm.console().wait_for("payload: writes\n", SOON)?;
    let place = |name: &str| ctx.scratch.join(name).to_string_lossy().into_owned();
    let mut reached = vec![number(&mut vm)?];
    for name in ["first", "second"] {
        ctx.note(says(ctx, 0, &["snapshot", "payload", &place(name), "--overlay-disks"])?.trim());
        reached.push(number(&mut vm)?);
    }
    let bases = |kind: &str| -> Result<Vec<_>, Failure> {
        let names = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
        let is_base = |path: &Path| path.to_string_lossy().ends_with(kind) && !path.ends_with("disk.qcow2");
        Ok(names.filter(|path| is_base(path)).collect())
    };
    let (raw, cow) = (bases(".img")?, bases(".qcow2")?);
    let ([first], [second]) = (raw.as_slice(), cow.as_slice()) else {
        return Err(format!("its folder has {raw:?} and {cow:?}").into());
    };
    let before = fs::read(first)?;
    let inspected = says(ctx, 0, &["snapshot", "inspect", &place("second"), "--check"])?;
    ensure!(inspected.contains("below an overlay"), "of a disk that stays it says {inspected:?}");
    // Two of the first and one of the second at once, beside the machine itself.
    for (snapshot, name) in [("first", "one"), ("first", "two"), ("second", "three")] {
        let mut clone = Vm::restore(ctx, (name, name), Path::new(&place(snapshot)), &[])?;
        let at = number(&mut clone)?;
        ensure!(at >= 1, "the clone is at {at}");
        let saved = place(&format!("{name}-saved"));
        says(ctx, 0, &["snapshot", name, &saved, "--copy-disks", "--stop"])?;
        clone.wait_exit(SOON)?.expect(0, "saved")?;
        // All that it finds on its disk was written before the snapshot, or by itself.
        let last = last_number(&Path::new(&saved).join("disk-data.raw"))?;
        ensure!(last >= at - 1, "the clone was at {at}, and its disk is at {last}");
    }
    let end = number(&mut vm)?;
    quit(&mut vm)?;
    let (at_first, at_second) = (last_number(first)?, last_on(ctx, second, &[first])?);
    let newest = last_on(ctx, &folder.join("disk.qcow2"), &[second, first])?;
    ensure!(
        reached[0] - 1 <= at_first && at_first < reached[1] && reached[1] - 1 <= at_second,
        "{at_first} and {at_second} are on the disks of snapshots around {reached:?}"
    );
    ensure!(at_second < reached[2] && newest + 1 >= end, "{at_second}, {newest}, {reached:?}, {end}");
    ensure!(fs::read(first)? == before, "something was written to the base");
    let mut again = Vm::start(ctx, &manifest, &["--kernel", &kernel])?;
    again.console().wait_for("payload: writes\n", SOON)?;
    number(&mut again)?;
    says(ctx, 0, &["snapshot", "payload", &place("third"), "--overlay-disks", "--stop"])?;
    again.wait_exit(SOON)?.expect(0, "saved")?;
    ensure!(bases(".qcow2")?.len() == 2, "no base was left");
    // Somebody has written to a base, which is the nearest one of the first snapshot, and lies deeper in the second.
    fs::write(first, &before)?;
    let base = first.to_string_lossy();
    for snapshot in ["first", "second"] {
        let restore = ["restore", &place(snapshot), "--name", "four", "--console", "off"];
        for refused in
            [says(ctx, 1, &restore)?, says(ctx, 1, &["snapshot", "inspect", &place(snapshot), "--check"])?]
        {
            let is_named = refused.contains("was written to since") && refused.contains(&*base);
            ensure!(is_named, "of a base that has changed, {snapshot} says {refused:?}");
        }
    }
    Ok(())
}

/// What nothing can be laid over is refused by name, and all is as it was.
pub(super) fn overlay_refusals(ctx: &Ctx) -> Outcome {
    let path = ctx.scratch.join("disk.img");
    fresh_disk(&path)?;
    ctx.claim("data", 1 << 20, 1)?;
    let kernel = ctx.scratch.join("payload.elf");
    fs::write(&kernel, elf::pvh(code::count(), 4096)).doing("writing a payload")?;
    let mut manifest = Manifest::bare("payload").memory("64Mi").grace(1).claim("data", "data", json!({}));
    manifest.push("/spec/domain/devices/disks", json!({"name": "host", "disk": {"bus": "virtio"}}));
    manifest.push("/spec/volumes", json!({"name": "host", "hostDisk": {"path": path, "type": "Disk"}}));
    let mut vm = Vm::start(ctx, &manifest, &["--kernel", &kernel.to_string_lossy()])?;
    vm.console().wait_for("payload: counts\n", SOON)?;
    let saved = ctx.scratch.join("saved").to_string_lossy().into_owned();
    let refused = says(ctx, 1, &["snapshot", "payload", &saved, "--overlay-disks"])?;
    ensure!(refused.contains("disk host") && refused.contains("--copy-disks"), "it says {refused:?}");
    let left = fs::read_dir(ctx.volumes().join("data"))?.count();
    ensure!(left == 1 && !Path::new(&saved).exists(), "{left} things are in the claim's folder");
    let both = says(ctx, 1, &["snapshot", "payload", &saved, "--overlay-disks", "--copy-disks"])?;
    ensure!(both.contains("contradict"), "of both it says {both:?}");
    number(&mut vm)?;
    quit(&mut vm)
}
