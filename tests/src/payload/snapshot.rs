//! Machines that are saved and brought back.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{SOON, code, elf, start};
use crate::case::Ctx;
use crate::commands::says;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::Vm;

/// How often the machine is saved and brought back.
const CHAIN: usize = 6;
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
        wait_for_numbers(&vm, 5)?;
        let directory = ctx.scratch.join(format!("snapshot-{round}"));
        let directory = directory.to_string_lossy();
        let said = says(ctx, 0, &["snapshot", "payload", &directory, "--stop"])?;
        ctx.note(said.trim());
        vm.wait_exit(SOON)?.expect(0, "saved")?;
        all += &vm.console().text();
        says(ctx, 0, &["snapshot", "inspect", &directory, "--check"])?;
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
    let kernel = ctx.scratch.join("payload.elf");
    fs::write(&kernel, elf::pvh(code::touches(), 4096)).doing("writing a payload")?;
    let manifest = Manifest::bare("payload").memory("128Mi").grace(1);
    let mut vm = Vm::start(ctx, &manifest, &["--kernel", &kernel.to_string_lossy()])?;
    vm.console().wait_for("payload: touches\n", SOON)?;
    let place = |name: &str| ctx.scratch.join(name).to_string_lossy().into_owned();
    let (first, second, third) = (place("first"), place("second"), place("third"));
    touch(&mut vm, 1)?;
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
    let generation = text.lines().rev().nth(1).unwrap_or_default().to_owned();

    for (round, directory) in [(1, &first), (2, &second), (3, &third)] {
        let name = format!("clone-{round}");
        let mut clone = Vm::restore(ctx, (&name, &name), Path::new(directory), &[])?;
        clone.type_in("c")?;
        clone.console().wait_for(&format!("{round:08X}"), SOON)?;
        touch(&mut clone, round + 1)?;
        clone.type_in("g")?;
        clone.console().wait_for("00000020\n", SOON)?;
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

/// Has the guest write `round` into all its pages.
fn touch(vm: &mut Vm, round: u32) -> Outcome {
    vm.type_in("t")?;
    vm.console().wait_for(&format!("{round:08X}"), SOON)
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
        let deadline = Instant::now() + SOON;
        // It hears as soon as it can be spoken to.
        while vm.is_running()? && says(ctx, 0, &["stop", "hostile", "--force"]).is_err() {
            ensure!(Instant::now() < deadline, "round {round} neither ends nor hears");
            std::thread::sleep(Duration::from_millis(50));
        }
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
