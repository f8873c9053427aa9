//! Machines that are saved and brought back.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::touching::{touch, touching};
use super::{SOON, code, elf, start};
use crate::case::Ctx;
use crate::commands::{kubevmm, says};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{Vm, command};
use crate::wait::until;

/// How often the machine is saved and brought back.
const CHAIN: usize = 50;
/// Altered snapshots that are tried.
const HOSTILE: u32 = 24;

/// The numbers that a guest has printed whole.
fn numbers(text: &str) -> Result<Vec<u32>, Failure> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let number = |line: &str| u32::from_str_radix(line.trim(), 16).doing("reading a number");
    whole.lines().map(number).collect()
}

/// Waits until a guest has printed so many numbers.
fn wait_for_numbers(vm: &Vm, count: usize) -> Outcome {
    vm.console().wait_for_times("\n", count, SOON)
}

/// A guest that counts is saved and brought back in a new process, again and again: it misses nothing, and does nothing twice.
pub(super) fn chain(ctx: &Ctx) -> Outcome {
    ctx.claim("data", 1 << 20, 1)?;
    let kernel = ctx.scratch.join("payload.elf");
    fs::write(&kernel, elf::pvh(code::counts(), 4096)).doing("writing a payload")?;
    // Devices of all kinds, which the guest leaves alone.
    let mut manifest =
        Manifest::bare("payload").memory("64Mi").cores(3).grace(1).claim("data", "data", json!({}));
    manifest.set("/metadata/annotations", json!({"kubevmm.io/hotplug-slots": "2"}));
    manifest.set("/spec/domain/devices/watchdog", json!({"name": "dog", "i6300esb": {}}));
    manifest.set("/spec/domain/devices/rng", json!({}));
    manifest.push("/spec/domain/devices/disks", json!({"name": "empty", "disk": {"bus": "virtio"}}));
    manifest.push("/spec/volumes", json!({"name": "empty", "emptyDisk": {"capacity": "1Mi"}}));
    let manifest = manifest.cloud_init("#cloud-config");
    let mut vm = Vm::start(ctx, &manifest, &["--kernel", &kernel.to_string_lossy()])?;
    let mut all = String::new();
    for round in 0..CHAIN {
        wait_for_numbers(&vm, 2)?;
        let directory = ctx.scratch.join(format!("snapshot-{round}"));
        let directory = directory.to_string_lossy();
        let said = says(ctx, 0, &["snapshot", "payload", &directory, "--stop"])?;
        vm.wait_exit(SOON)?.expect(0, "saved")?;
        all += &vm.console().text();
        if round % 10 == 0 {
            ctx.note(said.trim());
            says(ctx, 0, &["snapshot", "inspect", &directory, "--check"])?;
        }
        let args: &[&str] = if round % 2 == 0 { &[] } else { &["--eager"] };
        let log = format!("restored-{round}");
        vm = Vm::restore(ctx, ("payload", &log), Path::new(directory.as_ref()), args)?;
    }
    wait_for_numbers(&vm, 5)?;
    // A disk that was written to meanwhile is another one.
    let last = ctx.scratch.join(format!("snapshot-{}", CHAIN - 1));
    let (name, last) = (["--name", "other", "--console", "off"], last.to_string_lossy());
    ctx.claim("data", 1 << 20, 2)?;
    let changed = says(ctx, 1, &[["restore", &last].as_slice(), &name].concat())?;
    ensure!(changed.contains("was written to since"), "of a disk that has changed it says {changed:?}");
    // Who comes second finds the machine running.
    let twice = says(ctx, 3, &["restore", &last, "--changed-disks", "--console", "off"])?;
    ensure!(twice.contains("runs already"), "the second says {twice:?}");
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    all += &vm.console().text();
    let counted = numbers(&all.replace('\r', ""))?;
    let wanted: Vec<u32> = (1..).take(counted.len()).collect();
    ensure!(counted == wanted, "it counted {counted:?}");
    Ok(())
}

/// A guest that goes on while it is saved, and a second snapshot that adds to the first. Machines of both run at once, each
/// with the memory of its time.
pub(super) fn incremental(ctx: &Ctx) -> Outcome {
    let mut vm = filled(ctx)?;
    let place = |name: &str| ctx.scratch.join(name).to_string_lossy().into_owned();
    let (first, second, third) = (place("first"), place("second"), place("third"));
    ctx.note(says(ctx, 0, &["snapshot", "payload", &first, "--track"])?.trim());
    touch(&mut vm, 2)?;
    ctx.note(says(ctx, 0, &["snapshot", "payload", &second, "--incremental-of", &first])?.trim());
    touch(&mut vm, 3)?;
    ctx.note(says(ctx, 0, &["snapshot", "payload", &third, "--incremental-of", &second])?.trim());
    let untracked = says(ctx, 1, &["snapshot", "payload", &place("fourth"), "--incremental-of", &first])?;
    ensure!(untracked.contains("--track"), "without tracking it says {untracked:?}");
    let taken = says(ctx, 1, &["snapshot", "payload", &first])?;
    ensure!(taken.contains("exists already"), "of a directory that is there it says {taken:?}");
    touch(&mut vm, 4)?;
    vm.type_in("g")?;
    vm.console().wait_for("\n00000000\n", SOON)?;
    let text = vm.console().text().replace('\r', "");
    let generation = text.lines().rev().nth(3).unwrap_or_default().to_owned();
    ensure!(
        text.ends_with("00000001\n00000001\n00000000\n"),
        "the first one's clock was disturbed: {text:?}"
    );

    for (round, directory) in [(1, &first), (2, &second), (3, &third)] {
        let name = format!("clone-{round}");
        let mut clone = Vm::restore(ctx, (&name, &name), Path::new(directory), &[])?;
        clone.type_in("c")?;
        clone.console().wait_for(&format!("{round:08X}"), SOON)?;
        touch(&mut clone, round + 1)?;
        clone.type_in("g")?;
        // Its clock was disturbed once, it was brought back once, and both are told.
        clone.console().wait_for("\n00000002\n00000002\n00000060\n", SOON)?;
        let text = clone.console().text().replace('\r', "");
        ensure!(!text.contains(&generation), "it has the generation of the one that it was: {text:?}");
        clone.type_in("q")?;
        clone.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    }
    vm.type_in("c")?;
    vm.console().wait_for_times("00000004", 2, SOON)?;
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;

    // One byte of the pages that the second one added.
    let memory = OpenOptions::new().read(true).write(true).open(Path::new(&second).join("memory"))?;
    memory.write_all_at(&[0xff], 0x0200_0000).doing("altering a snapshot")?;
    let altered = says(ctx, 1, &["snapshot", "inspect", &third, "--check"])?;
    ensure!(altered.contains("altered"), "of what was altered it says {altered:?}");
    let refused = says(ctx, 1, &["restore", &third, "--console", "off"])?;
    ensure!(refused.contains("altered"), "of what was altered it says {refused:?}");
    fs::remove_dir_all(&first).doing("removing a snapshot")?;
    let gone = says(ctx, 3, &["restore", &second, "--console", "off"])?;
    ensure!(gone.contains("first"), "of a snapshot whose base is gone it says {gone:?}");
    Ok(())
}

/// A snapshot that goes through a pipe: tar and `restore -` make the same directory of it, and a torn one is refused.
pub(super) fn stream(ctx: &Ctx) -> Outcome {
    let mut vm = filled(ctx)?;
    let staging = ctx.scratch.join("staging");
    fs::create_dir(&staging)?;
    let mut send = command(ctx);
    send.args(["snapshot", "payload", "-", "--runtime-dir"]).arg(ctx.scratch.join("run"));
    let sent = send.env("TMPDIR", &staging).output().doing("taking a snapshot")?;
    ensure!(sent.status.success(), "the snapshot says {}", String::from_utf8_lossy(&sent.stderr));
    ctx.note(String::from_utf8_lossy(&sent.stderr).trim());
    touch(&mut vm, 2)?;
    broken_off(ctx, &staging)?;
    let file = ctx.scratch.join("stream.tar");
    fs::write(&file, &sent.stdout).doing("writing the stream")?;
    judge_by_tar(ctx, &file)?;

    let into = ctx.scratch.join("into");
    let restore = |stream: &Path| -> Result<Child, Failure> {
        let mut command = command(ctx);
        command.args(["restore", "-", "--into"]).arg(&into).args(["--name", "piped", "--console", "off"]);
        command.arg("--runtime-dir").arg(ctx.scratch.join("run")).stdin(File::open(stream)?);
        command.stderr(File::create(ctx.results.join("piped.stderr.log"))?).spawn().doing("starting kubevmm")
    };
    let torn = ctx.scratch.join("torn.tar");
    fs::write(&torn, sent.stdout.get(..sent.stdout.len() / 2).unwrap_or_default())?;
    let ended = restore(&torn)?.wait()?;
    ensure!(ended.code() == Some(1) && !into.exists(), "a torn stream ended with {ended}");
    let mut child = restore(&file)?;
    until("a machine that came by a stream", || {
        Ok(kubevmm(ctx, &["stop", "piped", "--force"], "")?.status.code() == Some(0))
    })?;
    child.wait()?;
    // What was unpacked stays, and is the snapshot as it was.
    let mut clone = Vm::restore(ctx, ("clone", "clone"), &into, &["--eager"])?;
    clone.type_in("c")?;
    clone.console().wait_for("00000001", SOON)?;
    for vm in [&mut clone, &mut vm] {
        vm.type_in("q")?;
        vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    }
    let usage = says(ctx, 2, &["restore", "-", "--console", "off"])?;
    ensure!(usage.contains("--into"), "without a directory it says {usage:?}");
    let left = fs::read_dir(&staging)?.count();
    ensure!(left == 0, "{left} things are left where the snapshot was made");
    Ok(())
}

/// Whoever ends the command leaves nothing; what a killed one leaves is removed by the next.
fn broken_off(ctx: &Ctx, staging: &Path) -> Outcome {
    let things = || Ok::<_, Failure>(fs::read_dir(staging)?.count());
    let sending = || {
        let mut send = command(ctx);
        send.args(["snapshot", "payload", "-", "--runtime-dir"]).arg(ctx.scratch.join("run"));
        send.env("TMPDIR", staging).stderr(Stdio::null());
        send
    };
    for (signal, code, left) in
        [(libc::SIGTERM, Some(1), 0), (libc::SIGINT, Some(1), 0), (libc::SIGKILL, None, 1)]
    {
        // Nobody reads what it sends.
        let mut child = sending().stdout(Stdio::piped()).spawn().doing("starting kubevmm")?;
        until("something is made of it", || Ok(things()? > 0))?;
        let pid = i32::try_from(child.id()).doing("naming a process")?;
        guest::sys::kill(pid, signal).doing("sending a signal")?;
        let ended = child.wait()?;
        ensure!(ended.code() == code, "it ended with {ended}");
        ensure!(things()? == left, "{} things are left of it", things()?);
        // The machine may be about to notice that its snapshot is gone.
        until("another snapshot", || Ok(sending().stdout(Stdio::null()).status()?.success()))?;
        ensure!(things()? == 0, "what a killed one has left is there still");
    }
    Ok(())
}

/// GNU tar unpacks a stream into the snapshot that it is of. Others, such as busybox in the test host, know no sparse files.
fn judge_by_tar(ctx: &Ctx, stream: &Path) -> Outcome {
    let version = Command::new("tar").arg("--version").output().doing("starting tar")?;
    if !String::from_utf8_lossy(&version.stdout).contains("GNU tar") {
        ctx.note("tar here is not GNU's: the stream is judged by `restore -` alone");
        return Ok(());
    }
    let by_tar = ctx.scratch.join("by-tar");
    fs::create_dir(&by_tar)?;
    let status =
        Command::new("tar").arg("xf").arg(stream).current_dir(&by_tar).status().doing("starting tar")?;
    ensure!(status.success(), "tar ended with {status}");
    says(ctx, 0, &["snapshot", "inspect", &by_tar.to_string_lossy(), "--check"])?;
    Ok(())
}

/// A machine whose guest has filled its memory.
fn filled(ctx: &Ctx) -> Result<Vm, Failure> {
    touching(ctx, &Manifest::bare("payload").memory("128Mi").grace(1))
}

/// Mapped memory that was altered: it is found before the guest goes on, or while it runs, as is wished.
pub(super) fn checks(ctx: &Ctx) -> Outcome {
    let mut vm = filled(ctx)?;
    let directory = ctx.scratch.join("saved");
    let place = directory.to_string_lossy();
    says(ctx, 0, &["snapshot", "payload", &place, "--stop"])?;
    vm.wait_exit(SOON)?.expect(0, "saved")?;
    for when in ["before", "meanwhile"] {
        let mut good = Vm::restore(ctx, ("good", &format!("good-{when}")), &directory, &["--check", when])?;
        good.type_in("c")?;
        good.console().wait_for("00000001", SOON)?;
        good.type_in("q")?;
        good.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    }
    // Behind the word that the guest looks at, in its last page.
    let memory = OpenOptions::new().read(true).write(true).open(directory.join("memory"))?;
    memory.write_all_at(&[0xff], 0x0400_0000 - 0x800).doing("altering a snapshot")?;
    let refused = says(ctx, 1, &["restore", &place, "--check", "before", "--console", "off"])?;
    ensure!(refused.contains("altered"), "of what was altered it says {refused:?}");
    let mut bad = Vm::restore(ctx, ("bad", "bad"), &directory, &["--check", "meanwhile"])?;
    until("somebody who notices", || {
        let said = kubevmm(ctx, &["events", "bad"], "")?.stdout;
        let events = String::from_utf8_lossy(&said);
        Ok(events.contains("SnapshotDamaged") && events.contains("Paused"))
    })?;
    ensure!(bad.errors().contains("its memory was altered"), "it is not said why: {}", bad.errors());
    // Who insists has it go on.
    bad.operate("unpause")?;
    bad.type_in("q")?;
    bad.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

/// Snapshots whose state was altered by somebody who knows how to make checksums: whatever stands there, the process ends by
/// itself or runs the guest, and never crashes.
pub(super) fn hostile(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx, code::counts(), &[])?;
    wait_for_numbers(&vm, 3)?;
    let good = ctx.scratch.join("good");
    says(ctx, 0, &["snapshot", "payload", &good.to_string_lossy(), "--stop"])?;
    vm.wait_exit(SOON)?.expect(0, "saved")?;
    let state = fs::read_to_string(good.join("state.json"))?;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut refused = 0;
    for round in 0..HOSTILE {
        let mut bytes = state.clone().into_bytes();
        for _ in 0..=round % 4 {
            // xorshift64
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            alter(&mut bytes, random);
        }
        fs::write(good.join("state.json"), &bytes).doing("altering the state")?;
        sum(&good)?;
        let log = format!("hostile-{round}");
        let mut vm = Vm::restore(ctx, ("hostile", &log), &good, &["--eager"])?;
        std::thread::sleep(Duration::from_millis(150));
        // It hears as soon as it can be spoken to.
        until("its end, or somebody who hears", || {
            Ok(!vm.is_running()? || says(ctx, 0, &["stop", "hostile", "--force"]).is_ok())
        })
        .doing(&format!("round {round}"))?;
        let ended = vm.wait_exit(SOON)?;
        ensure!(
            ended.signal.is_none() && !ended.errors.contains("panicked"),
            "round {round} ended by {:?}: {}",
            ended.signal,
            ended.errors
        );
        refused += u32::from(ended.code == Some(3) || ended.code == Some(1));
    }
    // How many hosts refuse of what they cannot tell from a guest's own doing differs by their KVM.
    ctx.note(&format!("{refused} of {HOSTILE} altered states were refused"));
    let newer = state.replacen("\"version\":1", "\"version\":99", 1);
    ensure!(newer != state, "the state begins with {:?}", state.get(..60));
    fs::write(good.join("state.json"), newer).doing("altering the version")?;
    sum(&good)?;
    let ended = Vm::restore(ctx, ("hostile", "hostile-newer"), &good, &["--eager"])?.wait_exit(SOON)?;
    ensure!(ended.code == Some(3) && ended.errors.contains("layout 99"), "a newer state: {}", ended.errors);
    Ok(())
}

/// Puts another digit in place of one.
fn alter(bytes: &mut [u8], random: u64) {
    let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
    let place = usize::try_from(random >> 8).unwrap_or(0) % digits.len();
    if let Some(byte) = digits.get(place).and_then(|at| bytes.get_mut(*at)) {
        *byte = b'0' + u8::try_from(random % 10).unwrap_or(0);
    }
}

/// Makes the list of checksums fit the state again.
fn sum(directory: &Path) -> Outcome {
    let state = fs::read(directory.join("state.json"))?;
    let path = directory.join("sums");
    let text = fs::read_to_string(&path)?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.pop();
    for line in &mut lines {
        if line.ends_with(" state.json") {
            *line = format!("{:08x} {} state.json", crc32fast::hash(&state), state.len());
        }
    }
    let mut text = lines.join("\n") + "\n";
    let crc = crc32fast::hash(text.as_bytes());
    text += &format!("{crc:08x} end\n");
    fs::write(&path, text).doing("writing checksums")
}
