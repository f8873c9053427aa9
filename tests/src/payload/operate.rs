//! Machines that are operated by commands and clients of all kinds, beside a payload.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;
use std::time::Duration;

use net::socket;

use super::{SOON, code, start};
use crate::api;
use crate::case::Ctx;
use crate::commands::{self, kubevmm, says};
use crate::console::Console;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::command;
use crate::wait::until;

/// Connections that ask nothing: as many as a process may have where its limit is 1024, beside the clients.
const IDLE: usize = 900;
/// Clients at a time, and requests of each.
const CLIENTS: usize = 50;
const REQUESTS: usize = 200;
const GET: &[u8] =
    b"GET /apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/payload HTTP/1.1\r\nHost: x\r\n\r\n";

/// Every verb, as a person types it.
pub(super) fn verbs(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx, code::echo(), &["--console", "off"])?;
    let expect = |code, args: &[&str], wanted: &str| commands::expect(ctx, code, args, wanted);
    vm.wait_status(SOON, |status| status["phase"] == "Running")?;
    expect(0, &["wait", "payload", "--for=condition=Ready"], "condition met")?;
    expect(0, &["ps", "-o", "name"], "default/payload\n")?;
    expect(0, &["ps"], "Running")?;
    expect(0, &["status", "payload", "-o", "yaml"], "phase: Running")?;
    expect(3, &["status", "nobody"], "there is no machine default/nobody")?;
    expect(3, &["status", "payload", "-n", "other"], "did you mean default/payload?")?;
    expect(0, &["events", "payload"], "Started")?;
    expect(0, &["pause", "payload"], "is paused")?;
    expect(1, &["pause", "payload"], "VMI is already paused")?;
    expect(0, &["ps"], "Paused")?;
    expect(0, &["wait", "payload", "--for=condition=Paused", "--timeout=0"], "condition met")?;
    expect(0, &["unpause", "payload"], "goes on")?;
    expect(1, &["wait", "payload", "--for=phase=Failed", "--timeout=1"], "did not come to be so")?;
    expect(2, &["wait", "payload", "--for=good luck"], "cannot be waited for")?;
    let logged = |times| Ok(says(ctx, 0, &["logs", "payload"])?.matches("payload: type").count() == times);
    until("the guest's line", || logged(1))?;
    expect(0, &["reset", "payload"], "is reset")?;
    until("the line of a guest that begins anew", || logged(2))?;
    expect(0, &["stop", "payload", "--force"], "is stopped")?;
    vm.wait_exit(SOON)?.expect(5, "killed")?;
    expect(0, &["ps"], "payload")?;
    expect(3, &["pause", "payload"], "does not run")?;
    expect(0, &["wait", "payload", "--for=delete"], "condition met")?;
    expect(0, &["delete", "payload"], "is deleted")?;
    expect(0, &["ps"], "No machines found")?;
    let mut vm = start(ctx, code::halt(), &["--console", "off"])?;
    vm.wait_status(SOON, |status| status["phase"] == "Running")?;
    expect(0, &["delete", "payload", "--grace-period", "1"], "is deleted")?;
    vm.wait_exit(SOON)?.expect(5, "killed")?;
    ensure!(!vm.runtime().exists(), "what is deleted leaves nothing");
    Ok(())
}

/// Many read the console; one types.
pub(super) fn console(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx, code::echo(), &[])?;
    vm.console().wait_for("payload: type\n", SOON)?;
    let text = |output: Output| String::from_utf8_lossy(&output.stdout).replace('\r', "");
    // Standard input of the machine is open, so its keys are the guest's.
    vm.type_in("a")?;
    vm.console().wait_for("a", SOON)?;
    let mut listener = command(ctx)
        .args(["console", "payload", "--runtime-dir"])
        .arg(ctx.scratch.join("run"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .doing("starting kubevmm")?;
    let keys = listener.stdin.take().ok_or("no pipe to standard input")?;
    (&keys).write_all(b"xyz").doing("typing")?;
    let output = listener.stdout.take().ok_or("no pipe from standard output")?;
    let heard = Console::collect(output, &ctx.results.join("listener.log"))?;
    heard.wait_for("type\na", SOON)?;
    thread::scope(|scope| {
        let taker = scope.spawn(|| kubevmm(ctx, &["console", "payload", "--force", "--history", "0"], "bc"));
        vm.console().wait_for("bc", SOON)?;
        // Whose keyboard was taken only listens from then on, until somebody gives it back.
        vm.type_in("never")?;
        thread::sleep(Duration::from_millis(100));
        says(ctx, 0, &["stop", "payload", "--force"])?;
        let taker = taker.join().map_err(|_| Failure("the one who types panicked".into()))??;
        ensure!(text(taker).starts_with("bc"), "who types reads, too");
        Ok::<_, Failure>(())
    })?;
    listener.wait()?;
    heard.wait_end(SOON);
    vm.wait_exit(SOON)?.expect(5, "killed")?;
    let shown = vm.console().text().replace('\r', "");
    ensure!(shown == "payload: type\nabc", "the console shows {shown:?}");
    let heard = heard.text().replace('\r', "");
    ensure!(heard == shown, "who listens heard {heard:?} instead of {shown:?}");
    Ok(())
}

/// Ten thousand requests of fifty clients, while the guest works: all are answered, and the guest goes on.
pub(super) fn load(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx, code::echo(), &[])?;
    vm.console().wait_for("payload: type\n", SOON)?;
    let socket = vm.runtime().join("api.sock");
    let mut idle: Vec<_> = (0..IDLE).filter_map(|_| socket::connect(&socket).ok()).collect();
    ensure!(idle.len() == IDLE, "{} connections were taken", idle.len());
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| ask_again_and_again(&socket))).collect();
        vm.type_in("ab")?;
        vm.console().wait_for("ab", SOON)?;
        clients.into_iter().try_for_each(|client| match client.join() {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure("a client panicked".into())),
        })
    })?;
    idle.clear();
    for nonsense in [b"\x00\xff\r\n\r\n".as_slice(), b"GET", b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"]
    {
        socket::connect(&socket)?.write_all(nonsense)?;
    }
    ensure!(api::call(&socket, "GET", "/healthz")?.text == "ok", "the API is not well");
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

fn ask_again_and_again(socket: &Path) -> Outcome {
    let mut stream = socket::connect(socket).doing("connecting")?;
    // All clients together keep a processor of a busy host for a while.
    stream.set_read_timeout(Some(SOON * 3))?;
    for number in 0..REQUESTS {
        stream.write_all(GET).doing("asking")?;
        let head = read_head(&mut stream)?;
        ensure!(head.starts_with("HTTP/1.1 200 OK\r\n"), "request {number} is answered by {head:?}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
        let mut body = vec![0; length.ok_or("an answer without a length")?];
        stream.read_exact(&mut body).doing("reading an answer")?;
        ensure!(
            body.starts_with(b"{\"") && body.ends_with(b"}"),
            "request {number} is answered by half an object"
        );
    }
    Ok(())
}

fn read_head(stream: &mut UnixStream) -> Result<String, Failure> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).doing("reading an answer's head")?;
        head.extend(byte);
    }
    String::from_utf8(head).doing("reading an answer's head as text")
}
