//! Bad input: one clear message, the right exit code, nothing left behind.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use guest::protocol::READY;
use serde_json::json;

use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{BOOT, Vm, command};

use super::tools::tap;

pub(super) const CASES: &[Case] = &[
    Case::host("bad-yaml", bad_yaml),
    Case::host("bad-no-such-manifest", no_such_manifest),
    Case::host("bad-unknown-kind", unknown_kind),
    Case::host("bad-disk-without-volume", disk_without_volume),
    Case::host("bad-missing-claim", missing_claim),
    Case::host("bad-missing-kernel", missing_kernel),
    Case::host("bad-corrupt-kernel", corrupt_kernel),
    Case::host("bad-kernel-larger-than-memory", large_kernel),
    Case::host("bad-no-permission-on-kvm", no_permission),
    Case::host("bad-tap-in-use", tap_in_use),
    Case::host("bad-no-such-tap", no_such_tap),
    Case::host("bad-usage", usage),
];

fn linux(ctx: &Ctx) -> Manifest {
    Manifest::linux("bad", &ctx.guest_image(), "vmlinux")
}

/// What a refusal has to look like.
struct Refusal<'a> {
    code: i32,
    /// Words of the message.
    words: &'a [&'a str],
}

/// All paths below the case's scratch folder.
fn paths(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut all: Vec<PathBuf> = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        all.extend(paths(&path));
        all.push(path);
    }
    all.sort();
    all
}

/// Runs a manifest's text and checks how it is refused.
fn refuse_text(ctx: &Ctx, text: &str, args: &[&str], wanted: &Refusal<'_>) -> Outcome {
    let file = ctx.results.join("bad.yaml");
    fs::write(&file, text).doing("writing a manifest")?;
    refuse_file(ctx, &file, args, wanted, None)
}

fn refuse(ctx: &Ctx, manifest: &Manifest, args: &[&str], wanted: &Refusal<'_>) -> Outcome {
    refuse_text(ctx, &serde_json::to_string_pretty(&manifest.0)?, args, wanted)
}

fn refuse_file(ctx: &Ctx, file: &Path, args: &[&str], wanted: &Refusal<'_>, user: Option<u32>) -> Outcome {
    for folder in [ctx.volumes(), ctx.scratch.join("run/default")] {
        fs::create_dir_all(folder)?;
    }
    let before = paths(&ctx.scratch);
    let mut command = command(ctx);
    command.arg("run").arg(file).args(["--console", "off", "--rm"]).args(args);
    command.arg("--volumes").arg(ctx.volumes()).arg("--runtime-dir").arg(ctx.scratch.join("run"));
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = command.stdin(Stdio::null()).output().doing("starting kubevmm")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ctx.note(&errors);
    ensure!(output.status.code() == Some(wanted.code), "it ended with {}, saying: {errors}", output.status);
    for word in wanted.words {
        ensure!(errors.contains(word), "the message does not say {word:?}: {errors}");
    }
    ensure!(errors.lines().count() <= 8, "the message is long: {errors}");
    let left: Vec<_> = paths(&ctx.scratch).into_iter().filter(|path| !before.contains(path)).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

fn bad_yaml(ctx: &Ctx) -> Outcome {
    let text = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: [\n";
    refuse_text(ctx, text, &[], &Refusal { code: 1, words: &["bad.yaml"] })
}

fn no_such_manifest(ctx: &Ctx) -> Outcome {
    let file = ctx.scratch.join("nowhere.yaml");
    refuse_file(ctx, &file, &[], &Refusal { code: 1, words: &["nowhere.yaml"] }, None)
}

fn unknown_kind(ctx: &Ctx) -> Outcome {
    let text = "apiVersion: kubevirt.io/v1\nkind: VirtualMachin\nmetadata: {name: bad}\nspec: {}\n";
    refuse_text(ctx, text, &[], &Refusal { code: 1, words: &["bad.yaml:2", "VirtualMachin"] })
}

fn disk_without_volume(ctx: &Ctx) -> Outcome {
    let text = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: bad}\nspec:\n  \
                domain:\n    memory: {guest: 256Mi}\n    devices:\n      disks:\n      - name: lost\n        \
                disk: {bus: virtio}\n";
    let kernel = ctx.guest("boot/vmlinux");
    let args = ["--kernel", &kernel.to_string_lossy()];
    refuse_text(ctx, text, &args, &Refusal { code: 1, words: &["bad.yaml:9", "lost"] })
}

fn missing_claim(ctx: &Ctx) -> Outcome {
    let manifest = linux(ctx).claim("data", "not-there", json!({}));
    refuse(ctx, &manifest, &[], &Refusal { code: 3, words: &["not-there"] })
}

fn missing_kernel(ctx: &Ctx) -> Outcome {
    let mut manifest = linux(ctx);
    manifest.set("/spec/domain/firmware/kernelBoot/container/kernelPath", json!("/boot/none"));
    refuse(ctx, &manifest, &[], &Refusal { code: 3, words: &["/boot/none"] })
}

fn corrupt_kernel(ctx: &Ctx) -> Outcome {
    let whole = fs::read(ctx.guest("boot/vmlinux")).doing("reading the kernel")?;
    for (name, bytes) in
        [("noise", vec![0xA5; 4096]), ("cut-short", whole.get(..1 << 20).unwrap_or_default().to_vec())]
    {
        let kernel = ctx.scratch.join(name);
        fs::write(&kernel, bytes).doing("writing a kernel")?;
        let args = ["--kernel", &kernel.to_string_lossy()];
        refuse(ctx, &Manifest::bare("bad"), &args, &Refusal { code: 3, words: &[name] })?;
    }
    Ok(())
}

fn large_kernel(ctx: &Ctx) -> Outcome {
    refuse(ctx, &linux(ctx).memory("24Mi"), &[], &Refusal { code: 3, words: &["memory"] })
}

fn no_permission(ctx: &Ctx) -> Outcome {
    let file = ctx.scratch.join("bad.yaml");
    fs::write(&file, serde_json::to_vec(&linux(ctx).0)?).doing("writing a manifest")?;
    // The other user may use this case's folders and nothing else.
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(ctx.scratch.join("run/default"))?;
    for folder in ["", "run", "run/default"] {
        fs::set_permissions(ctx.scratch.join(folder), fs::Permissions::from_mode(0o777))?;
    }
    fs::set_permissions("/dev/kvm", fs::Permissions::from_mode(0o600))?;
    let wanted = Refusal { code: 3, words: &["/dev/kvm", "group kvm"] };
    refuse_file(ctx, &file, &[], &wanted, Some(65_534))
}

fn tap_in_use(ctx: &Ctx) -> Outcome {
    tap("tap0", "10.79.0.1/24")?;
    let user = Manifest::linux("user", &ctx.guest_image(), "vmlinux").tap("lan", "02:00:00:aa:bb:01");
    let vm = Vm::start(ctx, &user, &["--tap", "lan=tap0"])?;
    vm.console().wait_for(READY, BOOT)?;
    let manifest = linux(ctx).tap("lan", "02:00:00:aa:bb:02");
    refuse(ctx, &manifest, &["--tap", "lan=tap0"], &Refusal { code: 3, words: &["tap0"] })
}

fn no_such_tap(ctx: &Ctx) -> Outcome {
    tap("tap0", "10.79.0.1/24")?;
    let manifest = linux(ctx).tap("lan", "02:00:00:aa:bb:02");
    refuse(ctx, &manifest, &["--tap", "lan=tap9"], &Refusal { code: 3, words: &["tap9"] })?;
    ensure!(!Path::new("/sys/class/net/tap9").exists(), "it made a tap of its own");
    Ok(())
}

fn usage(ctx: &Ctx) -> Outcome {
    for words in
        [&["run"][..], &["run", "--no-such-option", "x"], &["fly"], &["run", "x", "--tap", "nonsense"]]
    {
        let output = command(ctx).args(words).stdin(Stdio::null()).output().doing("starting kubevmm")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        ensure!(code == Some(2), "{words:?} ended with {code:?}: {errors}");
        ensure!(!errors.is_empty(), "{words:?} says nothing");
    }
    Ok::<(), Failure>(())
}
