//! Machines that move between processes while their guest counts in memory.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{SOON, code, elf};
use crate::case::Ctx;
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::Vm;
use crate::wait::until;

/// A machine with a disk whose guest counts.
pub(super) fn counting(ctx: &Ctx) -> Result<Vm, Failure> {
    counting_as(ctx, &manifest())
}

/// The same of another manifest.
pub(super) fn counting_as(ctx: &Ctx, manifest: &Manifest) -> Result<Vm, Failure> {
    ctx.claim("data", 1 << 20, 1)?;
    let mut vm = Vm::start(ctx, manifest, &["--kernel", &kernel(ctx)?])?;
    vm.console().wait_for("payload: counts\n", SOON)?;
    number(&mut vm)?;
    Ok(vm)
}

pub(super) fn manifest() -> Manifest {
    Manifest::bare("payload").memory("64Mi").grace(1).claim("data", "data", json!({}))
}

pub(super) fn kernel(ctx: &Ctx) -> Result<String, Failure> {
    let kernel = ctx.scratch.join("payload.elf");
    if !kernel.exists() {
        std::fs::write(&kernel, elf::pvh(code::count(), 4096)).doing("writing a payload")?;
    }
    Ok(kernel.to_string_lossy().into_owned())
}

/// A process that waits for it at a socket called as its root of runtime directories.
pub(super) fn waiting(ctx: &Ctx, root: &str) -> Result<Vm, Failure> {
    waiting_with(ctx, root, &[])
}

/// The same with more options.
pub(super) fn waiting_with(ctx: &Ctx, root: &str, more: &[&str]) -> Result<Vm, Failure> {
    let listen = address(ctx, root);
    let kernel = kernel(ctx)?;
    let usual: &[&str] = &["--kernel", &kernel, "--listen", &listen];
    Vm::receive(ctx, root, "payload", &[usual, more].concat())
}

pub(super) fn address(ctx: &Ctx, root: &str) -> String {
    format!("unix:{}", ctx.scratch.join(format!("{root}.sock")).display())
}

/// The number that the guest is at. It says so only if it runs.
pub(super) fn number(vm: &mut Vm) -> Result<u32, Failure> {
    let before = vm.console().text().lines().count();
    vm.type_in("c")?;
    let lines = || vm.console().text().replace('\r', "");
    until("the guest's number", || {
        let text = lines();
        Ok(text.ends_with('\n') && text.lines().count() > before)
    })?;
    let text = lines();
    let last = text.lines().last().unwrap_or_default();
    u32::from_str_radix(last, 16).doing(&format!("reading the number {last:?}"))
}

/// The machine's object, as its process left it last.
pub(super) fn migration(vm: &Vm) -> Result<Value, Failure> {
    Ok(vm.status_file()?["status"]["migrationState"].clone())
}

/// It moves to a second process, and on to a third, and has noticed nothing.
pub(super) fn there_and_back(ctx: &Ctx) -> Outcome {
    let mut first = counting(ctx)?;
    let before = number(&mut first)?;
    let mut second = waiting(ctx, "second")?;
    let (code, text) = beside(ctx, "run", &["migrate", "payload", &address(ctx, "second")])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    first.wait_exit(SOON)?.expect(0, "migrated")?;
    ensure!(migration(&first)?["completed"] == true, "{}", migration(&first)?);
    ctx.note(&last_event(&first, "Migrated")?);
    let between = number(&mut second)?;
    ensure!(between > before, "{before} became {between}");
    until("word that it has arrived", || Ok(second.errors().contains("has arrived, and runs here")))?;
    second.wait_status(SOON, |status| status["phase"] == "Running")?;
    let mut third = waiting(ctx, "third")?;
    let several = ["migrate", "payload", &address(ctx, "third"), "--connections", "4"];
    let (code, text) = beside(ctx, "second", &several)?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    second.wait_exit(SOON)?.expect(0, "migrated")?;
    // Its clock was disturbed by both moves, and it is the only one of its past.
    third.type_in("v")?;
    until("what the guest's clock says", || {
        Ok(third.console().text().replace('\r', "").ends_with("00000003\n00000001\n"))
    })?;
    let after = number(&mut third)?;
    ensure!(after > between, "{between} became {after}");
    // Paused, it comes back to where it began, and stays paused there.
    third.operate("pause")?;
    let mut first = waiting(ctx, "run")?;
    let (code, text) = beside(ctx, "third", &["migrate", "payload", &address(ctx, "run")])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    third.wait_exit(SOON)?.expect(0, "migrated")?;
    until("word that it has arrived", || Ok(first.errors().contains("has arrived, and is paused")))?;
    first.type_in("c")?;
    thread::sleep(Duration::from_millis(300));
    ensure!(first.console().text().is_empty(), "what was paused says {:?}", first.console().text());
    first.operate("unpause")?;
    let last = number(&mut first)?;
    ensure!(last > after, "{after} became {last}");
    first.type_in("q")?;
    first.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    ensure!(!first.console().text().contains("wrong"), "the guest found other memory than it wrote");
    ensure!(!third.console().text().contains("wrong"), "the guest found other memory than it wrote");
    Ok(())
}

/// What the newest event of this kind says.
pub(super) fn last_event(vm: &Vm, reason: &str) -> Result<String, Failure> {
    let events = std::fs::read_to_string(vm.runtime().join("events.jsonl")).doing("reading events")?;
    let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let said = events.rev().find(|event| event["reason"] == reason);
    Ok(said.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).unwrap_or_default())
}

/// Begins a move that does not come to an end by itself: the guest writes faster than may be sent.
fn endless(ctx: &Ctx, root: &str) -> Outcome {
    let address = address(ctx, root);
    let slow = ["migrate", "payload", &address, "--bandwidth", "2Mi", "--downtime", "1", "--no-wait"];
    let (code, text) = beside(ctx, "run", &slow)?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    Ok(())
}

/// How far the last move is, or was; nothing if there was none.
pub(super) fn progress(vm: &Vm) -> Result<Value, Failure> {
    annotation(vm, "kubevmm.io/migration-progress")
}

/// What an annotation of the machine says, as JSON; nothing if there is none.
pub(super) fn annotation(vm: &Vm, name: &str) -> Result<Value, Failure> {
    let object = vm.status_file()?;
    let text = object["metadata"]["annotations"][name].as_str();
    text.map_or(Ok(Value::Null), |text| serde_json::from_str(text).doing(&format!("reading {name}")))
}

fn rounds(vm: &Vm) -> Result<u64, Failure> {
    Ok(progress(vm)?["rounds"].as_u64().unwrap_or(0))
}

/// Either side is killed while memory is copied, or the move is cancelled: the machine runs on, or is gone with its process,
/// but never runs twice.
pub(super) fn deaths(ctx: &Ctx) -> Outcome {
    let mut vm = counting(ctx)?;
    // The destination is killed.
    let second = waiting(ctx, "second")?;
    endless(ctx, "second")?;
    until("a round of copying", || Ok(rounds(&vm)? > 0))?;
    second.signal(libc::SIGKILL)?;
    until("the end of the migration", || Ok(migration(&vm)?["completed"] == true))?;
    ensure!(migration(&vm)?["failed"] == true, "{}", migration(&vm)?);
    number(&mut vm)?;
    // It is cancelled.
    let mut third = waiting(ctx, "third")?;
    endless(ctx, "third")?;
    until("a round of copying", || Ok(rounds(&vm)? > 0 && migration(&vm)?["completed"] != true))?;
    let (code, text) = beside(ctx, "run", &["migrate-cancel", "payload"])?;
    ensure!(code == Some(0), "migrate-cancel ended with {code:?} and {text:?}");
    until("the end of the migration", || Ok(migration(&vm)?["completed"] == true))?;
    ensure!(migration(&vm)?["abortStatus"] == "Succeeded", "{}", migration(&vm)?);
    let ended = third.wait_exit(SOON)?;
    ensure!(ended.code == Some(1), "a destination to which nothing came ended with {ended:?}");
    number(&mut vm)?;
    // The guest is reset, and with it gone what was copied of it.
    let mut reset = waiting(ctx, "reset")?;
    endless(ctx, "reset")?;
    until("a round of copying", || Ok(rounds(&vm)? > 0 && migration(&vm)?["completed"] != true))?;
    vm.operate("reset")?;
    until("the end of the migration", || Ok(migration(&vm)?["completed"] == true))?;
    vm.console().wait_for_times("payload: counts\n", 2, SOON)?;
    let ended = reset.wait_exit(SOON)?;
    ensure!(ended.code == Some(1), "a destination whose machine was reset ended with {ended:?}");
    number(&mut vm)?;
    // The source is killed.
    let mut fourth = waiting(ctx, "fourth")?;
    endless(ctx, "fourth")?;
    until("a round of copying", || Ok(rounds(&vm)? > 0 && migration(&vm)?["completed"] != true))?;
    vm.signal(libc::SIGKILL)?;
    vm.wait_exit(SOON)?;
    let ended = fourth.wait_exit(SOON)?;
    ensure!(ended.code == Some(1), "a destination whose source died ended with {ended:?}");
    ensure!(fourth.console().text().is_empty(), "it ran: {:?}", fourth.console().text());
    Ok(())
}

/// A guest that writes faster than may be sent is slowed down, if that is allowed, until it can be moved; not else.
pub(super) fn converges(ctx: &Ctx) -> Outcome {
    let mut vm = counting(ctx)?;
    let policy = ctx.scratch.join("policy.yaml");
    let text = "apiVersion: migrations.kubevirt.io/v1alpha1\nkind: MigrationPolicy\nmetadata: {name: slow}\n\
                spec:\n  allowAutoConverge: true\n  bandwidthPerMigration: 4Mi\n\
                \x20 selectors: {namespaceSelector: {kubernetes.io/metadata.name: default}}\n";
    std::fs::write(&policy, text).doing("writing a policy")?;
    let policy = policy.to_string_lossy();
    let mut seen = Vec::new();
    // One that had no processor for a moment wrote nothing, and went as it was.
    for pair in ["run", "second", "third", "fourth", "fifth"].windows(2) {
        let &[from, to] = pair else { continue };
        let next = waiting(ctx, to)?;
        let order = ["migrate", "payload", &address(ctx, to), "--policy", &policy, "--downtime", "200"];
        let (code, text) = beside(ctx, from, &order)?;
        ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
        vm.wait_exit(SOON)?.expect(0, "migrated")?;
        ctx.note(&last_event(&vm, "Migrated")?);
        seen.push(progress(&vm)?["throttlePercent"].as_u64());
        vm = next;
        number(&mut vm)?;
        if seen.last().is_some_and(|throttle| *throttle >= Some(20)) {
            break;
        }
    }
    ensure!(seen.last().is_some_and(|throttle| *throttle >= Some(20)), "it was not slowed down: {seen:?}");
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

/// What does not fit is refused, and the machine runs on.
pub(super) fn refusals(ctx: &Ctx) -> Outcome {
    let mut vm = counting(ctx)?;
    let migrate = |args: &[&str], word: &str| {
        let (code, text) = beside(ctx, "run", &[&["migrate", "payload"], args].concat())?;
        ensure!(code == Some(1) && text.contains(word), "{args:?} ended with {code:?} and {text:?}");
        Ok::<_, Failure>(())
    };
    migrate(&["unix:/nowhere/at/all"], "could not be reached")?;
    migrate(&["tcp://127.0.0.1:1"], "--insecure")?;
    migrate(&["tcp://127.0.0.1:1", "--insecure"], "could not be reached")?;
    // Another machine waits there.
    let other = ctx.results.join("payload.json");
    let mut changed = manifest().memory("128Mi");
    changed.set("/metadata/name", json!("payload"));
    std::fs::write(&other, serde_json::to_vec(&changed.0)?).doing("writing a manifest")?;
    let second = waiting(ctx, "second")?;
    migrate(&[&address(ctx, "second")], "memory is")?;
    drop(second);
    // A disk that is shorter there.
    std::fs::write(&other, serde_json::to_vec(&manifest().0)?).doing("writing a manifest")?;
    let volumes = ctx.scratch.join("others");
    short_disk(&volumes)?;
    let listen = address(ctx, "third");
    let args = ["--kernel", &kernel(ctx)?, "--listen", &listen, "--volumes", &volumes.to_string_lossy()];
    let mut third = Vm::receive(ctx, "third", "payload", &args)?;
    migrate(&[&listen], "not the same storage")?;
    let ended = third.wait_exit(SOON)?;
    ensure!(ended.code == Some(1), "a destination that does not fit ended with {ended:?}");
    number(&mut vm)?;
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

fn short_disk(volumes: &Path) -> Outcome {
    let claim = volumes.join("data");
    std::fs::create_dir_all(&claim)?;
    std::fs::write(claim.join("disk.img"), vec![0; 1 << 19]).doing("writing a disk")
}
