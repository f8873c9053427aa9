//! Machines whose memory comes when it is needed.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::SOON;
use super::touching::{touch, touching};
use crate::api;
use crate::case::Ctx;
use crate::commands::says;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::huge_pages::HugePages;
use crate::machine;
use crate::manifest::Manifest;
use crate::vm::{Vm, command};
use crate::wait::until;

/// A page that the guest has written; its file has it at the same place.
const WRITTEN: u64 = 0x0200_0000;
const NEEDED_FIRST: &str = "working-set.json";
const MISSING: &str = "/metadata/annotations/kubevmm.io~1memory-on-demand";

/// Two snapshots of a machine that is gone, the second of which adds to the first.
fn two_snapshots(ctx: &Ctx) -> Result<[PathBuf; 2], Failure> {
    let mut vm = touching(ctx, &manifest())?;
    let (first, second) = (ctx.scratch.join("first"), ctx.scratch.join("second"));
    save(ctx, &first, &["--track"])?;
    touch(&mut vm, 2)?;
    save(ctx, &second, &["--incremental-of", &text(&first)])?;
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    Ok([first, second])
}

/// A machine comes back with its memory behind it: out of a chain of snapshots, which it does not need any more when all has come.
pub(super) fn chain(ctx: &Ctx) -> Outcome {
    let [first, second] = two_snapshots(ctx)?;
    for round in 0..3 {
        let mut vm =
            Vm::restore(ctx, ("vm", &format!("restored-{round}")), &second, &["--memory", "demand"])?;
        vm.type_in("c")?;
        vm.console().wait_for("00000002\n", SOON)?;
        complete(&vm)?;
        until("a note of what it needs first", || Ok(second.join(NEEDED_FIRST).exists()))?;
        if round == 2 {
            fs::remove_dir_all(&first).doing("removing a snapshot")?;
            fs::remove_dir_all(&second).doing("removing a snapshot")?;
        }
        touch(&mut vm, 3)?;
        vm.type_in("cq")?;
        vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
        vm.console().wait_for_times("00000003\n", 2, SOON)?;
    }
    Ok(())
}

/// The same of a machine whose memory is in huge pages, which come as a whole.
pub(super) fn huge_pages(ctx: &Ctx) -> Outcome {
    let _pages = HugePages::reserve(64)?;
    let mut manifest = manifest();
    manifest.set("/spec/domain/memory/hugepages", json!({"pageSize": "2Mi"}));
    let mut vm = touching(ctx, &manifest)?;
    let place = ctx.scratch.join("saved");
    save(ctx, &place, &["--stop"])?;
    vm.wait_exit(SOON)?.expect(0, "saved")?;
    let mut vm = Vm::restore(ctx, ("vm", "restored"), &place, &["--memory", "demand"])?;
    vm.type_in("c")?;
    vm.console().wait_for("00000001\n", SOON)?;
    complete(&vm)?;
    touch(&mut vm, 2)?;
    vm.type_in("cq")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    vm.console().wait_for_times("00000002\n", 2, SOON)
}

/// A snapshot that is damaged where the guest goes: the machine waits, says why, answers, and goes on when the page is there again. It can
/// be ended while it waits.
pub(super) fn damaged(ctx: &Ctx) -> Outcome {
    let mut vm = touching(ctx, &manifest())?;
    let place = ctx.scratch.join("saved");
    save(ctx, &place, &["--stop"])?;
    vm.wait_exit(SOON)?.expect(0, "saved")?;
    let good = alter(&place, 0xff)?;
    let mut vm = Vm::restore(ctx, ("vm", "restored"), &place, &["--memory", "demand"])?;
    vm.type_in("c")?;
    wait(&vm, "the machine to wait for its memory", |machine| {
        let missing = machine.pointer(MISSING).and_then(Value::as_str);
        machine::condition(machine, "Paused") == "True"
            && machine["status"].to_string().contains("PostcopyFailed")
            && missing.is_some_and(|missing| missing.contains("was altered at 0x2000000"))
    })?;
    ensure!(metric(&vm, "missing_bytes")? >= 4096, "a page is missing, and the metrics do not say so");
    // It is looked for again and again.
    until("the metrics to say that it cannot be had", || Ok(metric(&vm, "unreachable")? == 1))?;
    let refused = says(ctx, 1, &["unpause", "vm"])?;
    ensure!(refused.contains("waits for the rest of its memory"), "unpause says {refused:?}");
    thread::sleep(Duration::from_millis(500));
    ensure!(vm.console().text().is_empty(), "the guest goes on: {:?}", vm.console().text());
    alter(&place, good)?;
    vm.console().wait_for("00000001\n", SOON)?;
    complete(&vm)?;
    let (missing, unreachable) = (metric(&vm, "missing_bytes")?, metric(&vm, "unreachable")?);
    ensure!(missing + unreachable == 0, "all is here, and the metrics say {missing} and {unreachable}");
    ensure!(metric(&vm, "pages_waited_for_total")? >= 1, "a page was waited for");
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;

    alter(&place, 0xff)?;
    // Were it noted, the rest would follow at once, and the machine would not even begin.
    ensure!(
        !place.join(NEEDED_FIRST).exists(),
        "what it needed when it could be read again is noted as what it needs first"
    );
    // One whose writes are logged, too.
    let mut vm = Vm::restore(ctx, ("vm", "ended"), &place, &["--memory", "demand", "--track"])?;
    vm.type_in("c")?;
    wait(&vm, "the machine to wait again", |machine| machine::condition(machine, "Paused") == "True")?;
    says(ctx, 0, &["stop", "vm", "--force"])?;
    // A vCPU whose instruction is emulated waits in the host's kernel, which the end of the process alone ends.
    let ended = vm.wait_exit(SOON * 2)?;
    ensure!(matches!(ended.code, Some(3 | 5)), "it ended with {:?}: {}", ended.code, ended.errors);
    let refused = says(ctx, 1, &["restore", &text(&place), "--memory", "eager", "--console", "off"])?;
    ensure!(refused.contains("altered"), "all at once it says {refused:?}");
    Ok(())
}

/// What the metrics say of the memory.
fn metric(vm: &Vm, name: &str) -> Result<u64, Failure> {
    let text = api::call(&vm.runtime().join("api.sock"), "GET", "/metrics")?.text;
    let wanted = format!("kubevmm_vmi_memory_{name}{{");
    let line = text.lines().find(|line| line.starts_with(&wanted)).ok_or("there is no such metric")?;
    line.rsplit(' ').next().unwrap_or_default().parse().doing("reading a value")
}

/// A snapshot that adds to another one, served by a process: a machine of it has nothing of it but what came. When the server is gone, or is
/// another one, the machine waits; when it is back, it goes on.
pub(super) fn served(ctx: &Ctx) -> Outcome {
    let [first, second] = two_snapshots(ctx)?;
    let address = format!("unix:{}", ctx.scratch.join("pages.sock").display());
    let restore = |log: &str| {
        let into = ctx.scratch.join(log);
        Vm::restore(ctx, ("vm", log), Path::new(&address), &["--into", &text(&into)])
    };
    let server = Server::start(ctx, &second, &address)?;
    let mut vm = restore("far")?;
    vm.type_in("c")?;
    vm.console().wait_for("00000002\n", SOON)?;
    complete(&vm)?;
    let said = server.end(ctx)?;
    ensure!(said.contains("was served to 1 machine, "), "at its end it says {said:?}");
    ensure!(!ctx.scratch.join("far/memory").exists(), "memory was copied");
    touch(&mut vm, 3)?;
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;

    let good = alter(&second, 0xff)?;
    // It may have been noted what the first one needed.
    let _ = fs::remove_file(second.join(NEEDED_FIRST));
    let server = Server::start(ctx, &second, &address)?;
    let mut vm = restore("again")?;
    vm.type_in("c")?;
    let tells = |word: &'static str| {
        wait(&vm, word, move |machine| {
            machine.pointer(MISSING).is_some_and(|missing| missing.to_string().contains(word))
        })
    };
    tells("was altered at 0x2000000")?;
    drop(server);
    tells("cannot be reached")?;
    alter(&second, good)?;
    let other = Server::start(ctx, &first, &address)?;
    tells("another snapshot is served here")?;
    drop(other);
    let _server = Server::start(ctx, &second, &address)?;
    vm.console().wait_for("00000002\n", SOON)?;
    complete(&vm)?;
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    // What came without its memory is no snapshot, and one whose files were altered does not come.
    let stub = says(ctx, 3, &["restore", &text(&ctx.scratch.join("far")), "--console", "off"])?;
    ensure!(stub.contains("memory"), "of what came without its memory it says {stub:?}");
    // Nothing is left of one that came and cannot be brought back as it was asked for.
    let into = text(&ctx.scratch.join("unfit"));
    let mac = ["--mac", "nowhere=02:00:00:00:00:01"];
    let unfit =
        says(ctx, 2, &[&["restore", &address, "--into", &into, "--console", "off"], &mac[..]].concat())?;
    ensure!(unfit.contains("nowhere"), "of a card that is not there it says {unfit:?}");
    ensure!(!Path::new(&into).exists(), "something is left of what came for nothing");
    // Nor of one that came and whose machine could not be started.
    let log = ["--console-log", "/nowhere/log"];
    let unheard =
        says(ctx, 3, &[&["restore", &address, "--into", &into, "--console", "off"], &log[..]].concat())?;
    ensure!(unheard.contains("/nowhere/log"), "of a log that cannot be there it says {unheard:?}");
    ensure!(!Path::new(&into).exists(), "something is left of a machine that was not started");
    let mapped = says(ctx, 2, &["restore", &address, "--into", &into, "--memory", "mapped"])?;
    ensure!(mapped.contains("comes on demand"), "of memory that is elsewhere it says {mapped:?}");
    let state = fs::read(second.join("state.json"))?;
    fs::write(second.join("state.json"), vec![b' '; state.len()]).doing("altering a snapshot")?;
    let into = text(&ctx.scratch.join("altered"));
    let altered = says(ctx, 1, &["restore", &address, "--into", &into, "--console", "off"])?;
    ensure!(altered.contains("state.json was altered"), "of what was altered it says {altered:?}");
    ensure!(!Path::new(&into).exists(), "something is left of it");
    Ok(())
}

/// A process that serves a snapshot, for as long as this lives.
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(ctx: &Ctx, snapshot: &Path, address: &str) -> Result<Self, Failure> {
        Self::start_with(ctx, snapshot, address, &[])
    }

    /// The same with more options.
    pub(super) fn start_with(
        ctx: &Ctx,
        snapshot: &Path,
        address: &str,
        more: &[&str],
    ) -> Result<Self, Failure> {
        let errors = ctx.results.join("server.stderr.log");
        let mut command = command(ctx);
        command.args(["snapshot", "serve", &text(snapshot), "--listen", address]).args(more);
        let child = command.stderr(File::create(&errors)?).spawn().doing("starting a server")?;
        let server = Self(child);
        until("a server that serves", || Ok(fs::read_to_string(&errors)?.contains("serving")))?;
        Ok(server)
    }

    /// Has it end; what it has said.
    fn end(mut self, ctx: &Ctx) -> Result<String, Failure> {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status()?;
        ensure!(asked.success(), "it cannot be asked to end");
        self.0.wait()?;
        Ok(fs::read_to_string(ctx.results.join("server.stderr.log"))?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended is what was wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn manifest() -> Manifest {
    Manifest::bare("vm").memory("128Mi").grace(1)
}

pub(super) fn save(ctx: &Ctx, place: &Path, args: &[&str]) -> Outcome {
    let said = says(ctx, 0, &[&["snapshot", "vm", &text(place)], args].concat())?;
    ctx.note(said.trim());
    Ok(())
}

/// Waits until all memory has come.
pub(super) fn complete(vm: &Vm) -> Outcome {
    wait(vm, "all memory to come", |machine| machine.pointer(MISSING).is_none()).map(drop)
}

/// Waits until the machine is there, and as `is_so` wants it.
pub(super) fn wait(vm: &Vm, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
    until("somebody to speak to", || Ok(vm.runtime().join("api.sock").exists()))?;
    machine::wait_for(vm.runtime(), SOON, what, is_so)
}

/// Puts another byte into the memory of a snapshot; gives back the one before.
fn alter(place: &Path, byte: u8) -> Result<u8, Failure> {
    let memory = OpenOptions::new().read(true).write(true).open(place.join("memory"))?;
    let mut before = [0];
    memory.read_exact_at(&mut before, WRITTEN).doing("reading a snapshot")?;
    memory.write_all_at(&[byte], WRITTEN).doing("altering a snapshot")?;
    Ok(before[0])
}

pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
