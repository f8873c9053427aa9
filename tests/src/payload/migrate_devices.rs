//! Machines on block devices that move.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::SOON;
use super::migrate::{address, kernel, manifest, number};
use crate::case::Ctx;
use crate::cases::tools::{LoopDevice, busybox};
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::Vm;

const MIB: u64 = 1 << 20;

/// A device over a file of its own, filled with the pattern of `seed`.
fn device(ctx: &Ctx, name: &str, bytes: u64, seed: u64) -> Result<(LoopDevice, PathBuf), Failure> {
    let file = ctx.scratch.join(name);
    fs::rename(ctx.claim(name, bytes, seed)?, &file)?;
    Ok((LoopDevice::of(&file)?, file))
}

/// Volumes called `name` in which the claim is this device.
fn volumes(ctx: &Ctx, name: &str, device: &Path) -> Result<String, Failure> {
    let folder = ctx.scratch.join(name);
    fs::create_dir_all(&folder)?;
    symlink(device, folder.join("data")).doing("linking a claim")?;
    Ok(folder.to_string_lossy().into_owned())
}

/// Another node of the same device, as each container has its own.
fn node(ctx: &Ctx, device: &LoopDevice) -> Result<PathBuf, Failure> {
    let path = ctx.scratch.join("node");
    let number = fs::metadata(device.path())?.rdev();
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff);
    busybox(&["mknod", &path.to_string_lossy(), "b", &major.to_string(), &minor.to_string()])?;
    Ok(path)
}

fn waiting(ctx: &Ctx, root: &str, volumes: &str, more: &[&str]) -> Result<Vm, Failure> {
    let (listen, kernel) = (address(ctx, root), kernel(ctx)?);
    let args = ["--kernel", &kernel, "--listen", &listen, "--volumes", volumes];
    Vm::receive(ctx, root, "payload", &[&args, more].concat())
}

fn migrate(ctx: &Ctx, from: &str, to: &str, more: &[&str]) -> Result<(Option<i32>, String), Failure> {
    beside(ctx, from, &[&["migrate", "payload", &address(ctx, to)], more].concat())
}

/// One device is known by whatever node it has, and has one writer; others are copied if their names are given, also to a longer one.
pub(super) fn devices(ctx: &Ctx) -> Outcome {
    let (first, of_first) = device(ctx, "first", MIB, 1)?;
    let (other, of_other) = device(ctx, "other", MIB, 2)?;
    let (longer, of_longer) = device(ctx, "longer", 2 * MIB, 3)?;
    let (shorter, _) = device(ctx, "shorter", MIB / 2, 4)?;
    let node = node(ctx, &first)?;
    fs::create_dir_all(ctx.volumes())?;
    symlink(first.path(), ctx.volumes().join("data")).doing("linking a claim")?;
    let mut vm = Vm::start(ctx, &manifest(), &["--kernel", &kernel(ctx)?])?;
    vm.console().wait_for("payload: counts\n", SOON)?;
    let before = number(&mut vm)?;
    // Nobody else writes to it by another node.
    let by_node = volumes(ctx, "by-node", &node)?;
    let own = ["--kernel", &kernel(ctx)?, "--volumes", &by_node];
    let (code, text) = beside(
        ctx,
        "twice",
        &[&["run", &ctx.results.join("payload.json").to_string_lossy()], &own[..]].concat(),
    )?;
    ensure!(code == Some(3) && text.contains("in use"), "a second one ended with {code:?} and {text:?}");
    let mut second = waiting(ctx, "second", &by_node, &["--copy-storage"])?;
    let (code, text) = migrate(ctx, "run", "second", &["--copy-storage"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}: {}", second.errors());
    vm.wait_exit(SOON)?.expect(0, "migrated")?;
    ensure!(!vm.errors().contains("disk data is being copied"), "{}", vm.errors());
    // Two devices are two, whatever their names; which are one is not known for certain, though.
    let others = volumes(ctx, "others", Path::new(other.path()))?;
    for (root, here, word) in [("a", &[][..], "another one"), ("b", &["--copy-storage"], "--copy-disk data")]
    {
        let mut third = waiting(ctx, root, &others, &["--copy-storage"])?;
        let (code, text) = migrate(ctx, "second", root, here)?;
        ensure!(code == Some(1) && text.contains(word), "{here:?} ended with {code:?} and {text:?}");
        third.wait_exit(SOON)?;
        number(&mut second)?;
    }
    let mut third = waiting(ctx, "third", &others, &["--copy-storage"])?;
    let (code, text) = migrate(ctx, "second", "third", &["--copy-disk", "data"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}: {}", third.errors());
    second.wait_exit(SOON)?.expect(0, "migrated")?;
    ensure!(fs::read(&of_other)? == fs::read(&of_first)?, "the copy is another one");
    let short = volumes(ctx, "short", Path::new(shorter.path()))?;
    let mut refused = waiting(ctx, "short-root", &short, &["--copy-storage"])?;
    let (code, text) = migrate(ctx, "third", "short-root", &["--copy-disk", "data"])?;
    ensure!(code == Some(1) && text.contains("524288 bytes here"), "it ended with {code:?} and {text:?}");
    refused.wait_exit(SOON)?;
    let long = volumes(ctx, "long", Path::new(longer.path()))?;
    let mut last = waiting(ctx, "last", &long, &["--copy-storage"])?;
    let (code, text) = migrate(ctx, "third", "last", &["--copy-disk", "data"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}: {}", last.errors());
    third.wait_exit(SOON)?.expect(0, "migrated")?;
    ensure!(last.errors().contains("disk data has 2097152 bytes here"), "{}", last.errors());
    let copied = fs::read(&of_longer)?;
    ensure!(
        copied.get(..fs::read(&of_first)?.len()) == Some(&fs::read(&of_first)?),
        "the copy is another one"
    );
    let after = number(&mut last)?;
    ensure!(after > before, "{before} became {after}");
    last.type_in("q")?;
    last.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}
