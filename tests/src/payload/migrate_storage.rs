//! Machines that move with their disks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::SOON;
use super::migrate::{address, kernel, migration, number, progress};
use crate::case::Ctx;
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::machine;
use crate::manifest::Manifest;
use crate::vm::Vm;
use crate::wait::until;

const SIZE: u64 = 1 << 20;

/// A machine with a claim, an empty disk and a disk of files, whose guest counts.
fn started(ctx: &Ctx) -> Result<Vm, Failure> {
    ctx.claim("data", SIZE, 1)?;
    let mut manifest = Manifest::bare("payload").memory("64Mi").grace(1).claim("data", "data", json!({}));
    manifest.push("/spec/domain/devices/disks", json!({"name": "scratch", "disk": {"bus": "virtio"}}));
    manifest.push("/spec/volumes", json!({"name": "scratch", "emptyDisk": {"capacity": "2Mi"}}));
    let manifest = manifest.cloud_init("#cloud-config\n");
    let mut vm = Vm::start(ctx, &manifest, &["--kernel", &kernel(ctx)?])?;
    vm.console().wait_for("payload: counts\n", SOON)?;
    number(&mut vm)?;
    Ok(vm)
}

/// Volumes of another place, called `name`, with these bytes as the claim's image, if any.
fn volumes(ctx: &Ctx, name: &str, image: Option<&[u8]>) -> Result<PathBuf, Failure> {
    let folder = ctx.scratch.join(name);
    fs::create_dir_all(&folder)?;
    if let Some(bytes) = image {
        fs::create_dir_all(folder.join("data"))?;
        fs::write(image_in(&folder), bytes).doing("writing a disk")?;
    }
    Ok(folder)
}

fn image_in(volumes: &Path) -> PathBuf {
    volumes.join("data/disk.img")
}

/// A process that waits for the machine, with these volumes.
fn waiting(ctx: &Ctx, root: &str, volumes: &Path, more: &[&str]) -> Result<Vm, Failure> {
    let (listen, kernel) = (address(ctx, root), kernel(ctx)?);
    let volumes = volumes.to_string_lossy();
    let args = ["--kernel", &kernel, "--listen", &listen, "--volumes", &volumes];
    Vm::receive(ctx, root, "payload", &[&args, more].concat())
}

fn migrate(ctx: &Ctx, from: &str, to: &str, more: &[&str]) -> Result<(Option<i32>, String), Failure> {
    beside(ctx, from, &[&["migrate", "payload", &address(ctx, to)], more].concat())
}

/// A file with the claim's object, so that a missing image is made.
fn claim_object(ctx: &Ctx) -> Result<String, Failure> {
    let path = ctx.scratch.join("claim.json");
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"resources": {"requests": {"storage": "4Mi"}}},
    });
    fs::write(&path, claim.to_string()).doing("writing a claim's object")?;
    Ok(path.to_string_lossy().into_owned())
}

/// Two disks with the same name and size are not one; they are copied if both sides say so, and not again where both have the same.
pub(super) fn copies(ctx: &Ctx) -> Outcome {
    let mut vm = started(ctx)?;
    let before = number(&mut vm)?;
    let ours = ctx.volumes().join("data/disk.img");
    let bytes = fs::read(&ours).doing("reading the disk")?;
    let migratable = vm.status_file()?["status"]["conditions"].to_string();
    ensure!(!migratable.contains("DisksNotLiveMigratable"), "{migratable}");
    // An exact copy is another disk all the same.
    let places = volumes(ctx, "elsewhere", Some(&bytes))?;
    for (there, here, word) in
        [(&[][..], &[][..], "not the same storage"), (&[], &["--copy-storage"], "have receive take copies")]
    {
        let root = format!("refuses-{}", here.len());
        let mut second = waiting(ctx, &root, &places, there)?;
        let (code, text) = migrate(ctx, "run", &root, here)?;
        ensure!(code == Some(1) && text.contains(word), "{here:?} ended with {code:?} and {text:?}");
        let ended = second.wait_exit(SOON)?;
        ensure!(ended.code == Some(1), "a destination with other disks ended with {ended:?}");
        number(&mut vm)?;
    }
    let (code, text) = migrate(ctx, "run", "refuses", &["--copy-disk", "datum"])?;
    ensure!(code == Some(1) && text.contains("no disk \"datum\""), "it ended with {code:?} and {text:?}");
    fs::write(image_in(&places), vec![0xee; bytes.len()]).doing("writing a disk")?;
    let mut second = waiting(ctx, "second", &places, &["--copy-storage"])?;
    let (code, text) = migrate(ctx, "run", "second", &["--copy-storage"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}: {}", second.errors());
    vm.wait_exit(SOON)?.expect(0, "migrated")?;
    ctx.note(&vm.errors());
    ensure!(fs::read(image_in(&places))? == bytes, "the copy is another one");
    // Where both have it, nothing is copied; scratch disks are.
    let mut third = waiting(ctx, "third", &places, &["--copy-storage"])?;
    let (code, text) = migrate(ctx, "second", "third", &["--copy-storage"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    second.wait_exit(SOON)?.expect(0, "migrated")?;
    let said = second.errors();
    ensure!(!said.contains("disk data is being copied"), "{said}");
    ensure!(said.contains("disk scratch is being copied"), "{said}");
    // An image that is missing is made, as long as the disk.
    let empty = volumes(ctx, "empty", None)?;
    let mut fourth = waiting(ctx, "fourth", &empty, &["--copy-storage", &claim_object(ctx)?])?;
    let (code, text) = migrate(ctx, "third", "fourth", &["--copy-storage"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}: {}", fourth.errors());
    third.wait_exit(SOON)?.expect(0, "migrated")?;
    ensure!(fs::read(image_in(&empty))? == bytes, "the copy is another one");
    let after = number(&mut fourth)?;
    ensure!(after > before, "{before} became {after}");
    fourth.type_in("q")?;
    fourth.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    ensure!(!fourth.console().text().contains("wrong"), "the guest found other memory than it wrote");
    Ok(())
}

/// Begins a move whose disks take seconds, and waits until some of a disk is there.
fn slowly(ctx: &Ctx, vm: &Vm, to: &str, volumes: &Path) -> Outcome {
    let begun = || vm.errors().matches("disk data is being copied").count();
    let before = begun();
    let (code, text) = migrate(ctx, "run", to, &["--copy-storage", "--bandwidth", "32Ki", "--no-wait"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    let image = image_in(volumes);
    until("some of the disk", || {
        ensure!(migration(vm)?["completed"] != true, "it is over: {}", migration(vm)?);
        Ok(begun() > before && fs::metadata(&image).is_ok_and(|file| file.blocks() > 0))
    })
}

/// Whoever dies while disks are copied, the source's disk is as it was, and its guest goes on unless it was the source that died; an
/// image that was made for the copy is gone.
pub(super) fn deaths(ctx: &Ctx) -> Outcome {
    let mut vm = started(ctx)?;
    let ours = ctx.volumes().join("data/disk.img");
    let bytes = fs::read(&ours).doing("reading the disk")?;
    let claim = claim_object(ctx)?;
    // The destination is killed: what it made is left, and serves the next one.
    let place = volumes(ctx, "killed", None)?;
    let second = waiting(ctx, "second", &place, &["--copy-storage", &claim])?;
    slowly(ctx, &vm, "second", &place)?;
    second.signal(libc::SIGKILL)?;
    until("the end of the migration", || Ok(migration(&vm)?["completed"] == true))?;
    ensure!(migration(&vm)?["failed"] == true, "{}", migration(&vm)?);
    number(&mut vm)?;
    // It is cancelled.
    let place = volumes(ctx, "cancelled", None)?;
    let mut third = waiting(ctx, "third", &place, &["--copy-storage", &claim])?;
    slowly(ctx, &vm, "third", &place)?;
    let (code, text) = beside(ctx, "run", &["migrate-cancel", "payload"])?;
    ensure!(code == Some(0), "migrate-cancel ended with {code:?} and {text:?}");
    until("the end of the migration", || Ok(migration(&vm)?["completed"] == true))?;
    let ended = third.wait_exit(SOON)?;
    ensure!(ended.code == Some(1), "a destination to which nothing came ended with {ended:?}");
    ensure!(!image_in(&place).exists(), "an image that was made for nothing is left");
    number(&mut vm)?;
    // The destination's disk is locked while it is copied.
    let place = volumes(ctx, "locked", Some(&vec![0; bytes.len()]))?;
    let mut fourth = waiting(ctx, "fourth", &place, &["--copy-storage"])?;
    slowly(ctx, &vm, "fourth", &place)?;
    let image = image_in(&place).to_string_lossy().into_owned();
    let output = crate::vm::command(ctx).args(["image", "resize", &image, "8M"]).output();
    let said = output.doing("starting kubevmm")?;
    ensure!(!said.status.success(), "somebody else may change a disk that is being copied");
    // The source is killed.
    vm.signal(libc::SIGKILL)?;
    vm.wait_exit(SOON)?;
    let ended = fourth.wait_exit(SOON)?;
    ensure!(ended.code == Some(1), "a destination whose source died ended with {ended:?}");
    ensure!(fourth.console().text().is_empty(), "it ran: {:?}", fourth.console().text());
    ensure!(fs::read(&ours)? == bytes, "the source's disk was changed");
    Ok(())
}

/// Asks for something to be done with a disk.
fn ask(vm: &Vm, verb: &str, body: &Value) -> Outcome {
    let path = machine::subresource_path(verb).replace("/vm/", "/payload/");
    let said = machine::ask(vm.runtime(), "PUT", &path, &body.to_string())?;
    ensure!((200..300).contains(&said.status), "{verb}: {said:?}");
    Ok(())
}

/// A machine that has got a disk while it ran moves with it, although no manifest knows of it, and moves on.
pub(super) fn added(ctx: &Ctx) -> Outcome {
    ctx.claim("data", SIZE, 1)?;
    let more = ctx.claim("more", SIZE, 2)?;
    let mut manifest = Manifest::bare("payload").memory("64Mi").grace(1).claim("data", "data", json!({}));
    manifest.set("/metadata/annotations", json!({"kubevmm.io/hotplug-slots": "3"}));
    let mut vm = Vm::start(ctx, &manifest, &["--kernel", &kernel(ctx)?])?;
    vm.console().wait_for("payload: counts\n", SOON)?;
    let before = number(&mut vm)?;
    let source = json!({"persistentVolumeClaim": {"claimName": "more"}});
    let body = json!({"name": "more", "disk": {"disk": {"bus": "virtio"}}, "volumeSource": source});
    ask(&vm, "addvolume", &body)?;
    // While it moves, nothing comes or goes.
    let mut slow = waiting(ctx, "slow", &ctx.volumes(), &[])?;
    let (code, text) = migrate(ctx, "run", "slow", &["--bandwidth", "64Ki", "--no-wait"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    let refused = ask(&vm, "removevolume", &json!({"name": "more"}));
    ensure!(refused.is_err(), "a disk may go while the machine moves");
    // A destination that never saw its source would wait for another.
    until("the destination to take the machine", || Ok(progress(&vm)?["phase"] == "Copying"))?;
    let (code, text) = beside(ctx, "run", &["migrate-cancel", "payload"])?;
    ensure!(code == Some(0), "migrate-cancel ended with {code:?} and {text:?}");
    until("the end of the migration", || Ok(migration(&vm)?["completed"] == true))?;
    slow.wait_exit(SOON)?;
    let mut second = waiting(ctx, "second", &ctx.volumes(), &[])?;
    let (code, text) = migrate(ctx, "run", "second", &[])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}: {}", second.errors());
    vm.wait_exit(SOON)?.expect(0, "migrated")?;
    second.wait_status(SOON, |status| {
        let all = status["volumeStatus"].as_array();
        all.is_some_and(|all| all.iter().any(|one| one["name"] == "more" && one["phase"] == "Ready"))
    })?;
    // From there, it is copied to where there is another image of that name, or refused where there is none.
    let place = volumes(ctx, "elsewhere", Some(&vec![0; usize::try_from(SIZE).unwrap_or(0)]))?;
    let mut refusing = waiting(ctx, "refusing", &place, &["--copy-storage"])?;
    let (code, text) = migrate(ctx, "second", "refusing", &["--copy-storage"])?;
    ensure!(code == Some(1) && text.contains("\"more\""), "migrate ended with {code:?} and {text:?}");
    refusing.wait_exit(SOON)?;
    fs::create_dir_all(place.join("more"))?;
    fs::write(place.join("more/disk.img"), vec![0; usize::try_from(SIZE).unwrap_or(0)])?;
    let mut third = waiting(ctx, "third", &place, &["--copy-storage"])?;
    let (code, text) = migrate(ctx, "second", "third", &["--copy-storage"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}: {}", third.errors());
    second.wait_exit(SOON)?.expect(0, "migrated")?;
    ensure!(fs::read(place.join("more/disk.img"))? == fs::read(more)?, "the copy is another one");
    ask(&third, "removevolume", &json!({"name": "more"}))?;
    let after = number(&mut third)?;
    ensure!(after > before, "{before} became {after}");
    third.type_in("q")?;
    third.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

/// A qcow2 image goes from process to process; each reads of it what the last one has left, and it is sound in the end.
pub(super) fn images(ctx: &Ctx) -> Outcome {
    let folder = ctx.volumes().join("data");
    fs::create_dir_all(&folder)?;
    let image = folder.join("disk.qcow2").to_string_lossy().into_owned();
    let tool = |args: &[&str]| {
        let output = crate::vm::command(ctx).arg("image").args(args).output().doing("starting kubevmm")?;
        ensure!(output.status.success(), "image {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    tool(&["create", &image, "8M", "-f", "qcow2"])?;
    let manifest = Manifest::bare("payload").memory("64Mi").grace(1).claim("data", "data", json!({}));
    let mut vm = Vm::start(ctx, &manifest, &["--kernel", &kernel(ctx)?])?;
    vm.console().wait_for("payload: counts\n", SOON)?;
    let before = number(&mut vm)?;
    // It is not copied onto itself, and goes to the next one as it is; one that fails in between leaves it to its source.
    for (from, to) in [("run", "second"), ("second", "third"), ("third", "run")] {
        let failing = format!("before-{to}");
        let mut refusing = waiting(ctx, &failing, &volumes(ctx, &failing, Some(&vec![0; 8 << 20]))?, &[])?;
        let (code, text) = migrate(ctx, from, &failing, &[])?;
        ensure!(code == Some(1), "migrate ended with {code:?} and {text:?}");
        refusing.wait_exit(SOON)?;
        let next = waiting(ctx, to, &ctx.volumes(), &["--copy-storage"])?;
        let (code, text) = migrate(ctx, from, to, &["--copy-storage"])?;
        ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}: {}", next.errors());
        vm.wait_exit(SOON)?.expect(0, "migrated")?;
        ensure!(!vm.errors().contains("is being copied"), "{}", vm.errors());
        vm = next;
    }
    let after = number(&mut vm)?;
    ensure!(after > before, "{before} became {after}");
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    tool(&["check", &image])
}
