//! A stock guest that moves from process to process while it writes to its disk and holds a connection.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::json;

use super::net_vhost::served;
use super::tools::tool;
use crate::agent::Agent;
use crate::case::{Case, Ctx};
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{END, Vm};
use crate::wait::until;

pub(super) const CASES: &[Case] = &[
    Case::host("migrate-three-times", three_times).within(600),
    Case::host("migrate-with-disks", with_disks).within(600),
    Case::host("migrate-vhost-three-times", three_times_vhost).within(600),
];

const MAC: &str = "02:00:00:aa:bb:01";
/// Runtime directories, and the tap of each.
const PLACES: [&str; 4] = ["run", "second", "third", "fourth"];

/// A network of the host with a tap for each process.
fn network() -> Outcome {
    guest::sys::unshare_network().doing("making a network namespace")?;
    tool("ip", &["link", "add", "name", "br0", "type", "bridge"])?;
    for (number, _) in PLACES.iter().enumerate() {
        let tap = format!("tap{number}");
        guest::sys::make_tap(&tap).doing("making a tap")?;
        tool("ip", &["link", "set", &tap, "master", "br0", "up"])?;
    }
    tool("ip", &["addr", "add", "10.77.0.1/24", "dev", "br0"])?;
    tool("ip", &["link", "set", "br0", "up"]).map(drop)
}

/// Takes one connection and counts what it hears, as long as it lasts. It never closes its own side, which would end the other.
fn listener() -> Result<Arc<AtomicU64>, Failure> {
    let listener = TcpListener::bind("10.77.0.1:5001").doing("listening")?;
    let heard = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&heard);
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            counter.fetch_add(count as u64, Ordering::SeqCst);
        }
    });
    Ok(heard)
}

/// Writes that the guest's first disk has completed.
fn writes(agent: &mut Agent) -> Result<u64, Failure> {
    let text = agent.file("/sys/block/vda/stat")?;
    let count = text.split_whitespace().nth(4).and_then(|count| count.parse().ok());
    count.ok_or_else(|| Failure(format!("odd statistics: {text:?}")))
}

fn uptime(agent: &mut Agent) -> Result<f64, Failure> {
    let text = agent.file("/proc/uptime")?;
    let seconds = text.split(' ').next().and_then(|first| first.parse().ok());
    seconds.ok_or_else(|| Failure(format!("an odd uptime: {text:?}")))
}

fn grows(what: &str, mut size: impl FnMut() -> Result<u64, Failure>) -> Outcome {
    let before = size()?;
    until(what, || Ok(size()? > before))
}

fn three_times(ctx: &Ctx) -> Outcome {
    moves(ctx, |linux| linux.tap("lan", MAC))
}

/// The same with a card that the kernel serves: it notes what it writes, and where its queues stand.
fn three_times_vhost(ctx: &Ctx) -> Outcome {
    moves(ctx, served)
}

fn moves(ctx: &Ctx, with_card: impl FnOnce(Manifest) -> Manifest) -> Outcome {
    network()?;
    ctx.claim("data", 16 << 20, 1)?;
    let linux = with_card(Manifest::linux("vm", &ctx.guest_image(), "vmlinux"));
    let mut vm = Vm::start(ctx, &linux.claim("data", "data", json!({})), &["--tap", "lan=tap0"])?;
    let mut agent = vm.agent()?;
    agent.run_ok("ip link set eth0 up")?;
    agent.run_ok("ip addr add 10.77.0.2/24 dev eth0")?;
    let heard = listener()?;
    agent.script("(while :; do cat /proc/uptime; sleep 0.1; done | nc 10.77.0.1 5001) >/dev/null 2>&1 &")?;
    agent.script(
        "while :; do dd if=/dev/urandom of=/dev/vda bs=64k count=16 conv=fsync; done >/dev/null 2>&1 &",
    )?;
    let length = || Ok(heard.load(Ordering::SeqCst));
    grows("the connection", length)?;
    for (number, pair) in PLACES.windows(2).enumerate() {
        let &[from, to] = pair else { continue };
        let (tap, socket) = (format!("lan=tap{}", number + 1), ctx.scratch.join(format!("{to}.sock")));
        let address = format!("unix:{}", socket.display());
        let args = ["--listen", &address, "--tap", &tap, "--agent-socket"];
        let next = Vm::receive(ctx, to, "vm", &args)?;
        let before = (uptime(&mut agent)?, writes(&mut agent)?);
        let (code, text) = beside(ctx, from, &["migrate", "vm", &address, "--downtime", "1000"])?;
        ensure!(code == Some(0), "move {number} ended with {code:?} and {text:?}: {}", next.errors());
        vm.wait_exit(END)?.expect(0, "migrated")?;
        for line in vm.errors().lines().filter(|line| line.contains("migrated in")) {
            ctx.note(line);
        }
        vm = next;
        agent = vm.agent()?;
        let after = (uptime(&mut agent)?, writes(&mut agent)?);
        ensure!(after.0 >= before.0 && after.1 >= before.1, "{before:?} became {after:?}");
        grows("the connection", length)?;
        grows("writing to the disk", || writes(&mut agent))?;
    }
    let log = agent.run_ok("dmesg")?;
    for complaint in
        ["soft lockup", "rcu_sched self-detected", "I/O error", "clocksource: timekeeping watchdog"]
    {
        ensure!(!log.contains(complaint), "the guest complains: {complaint}");
    }
    agent.send(&guest::protocol::Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

/// Writes a number into one sector after the other, over and over, each durable before the next.
const WRITER: &str = "(i=0; while :; do i=$((i+1)); echo $i | dd of=/dev/vda bs=512 seek=$((i % 500)) count=1 conv=sync,fsync,notrunc \
    && echo $i > /new && mv /new /last; done) >/dev/null 2>&1 & echo $! > /writer";
/// Says which sectors have another number than the last that was written there.
const READER: &str = "kill $(cat /writer); sleep 1; echo 3 > /proc/sys/vm/drop_caches; last=$(cat /last); n=$((last-400)); \
    [ $n -gt 0 ] || n=1; while [ $n -le $last ]; do \
    x=$(dd if=/dev/vda bs=512 skip=$((n % 500)) count=1 2>/dev/null | head -n 1); \
    [ \"$x\" = $n ] || [ \"$x\" = $((last+1)) ] || echo \"$n is $x\"; n=$((n+1)); done; echo read";

/// A guest whose disks are copied while it writes to them finds all that it has written.
fn with_disks(ctx: &Ctx) -> Outcome {
    ctx.claim("data", 16 << 20, 1)?;
    let mut linux = Manifest::linux("vm", &ctx.guest_image(), "vmlinux").claim("data", "data", json!({}));
    linux.push("/spec/domain/devices/disks", json!({"name": "scratch", "disk": {"bus": "virtio"}}));
    linux.push("/spec/volumes", json!({"name": "scratch", "emptyDisk": {"capacity": "8Mi"}}));
    let mut vm = Vm::start(ctx, &linux, &[])?;
    let mut agent = vm.agent()?;
    agent.run_ok("dd if=/dev/urandom of=/dev/vdb bs=1M count=8 conv=fsync")?;
    let scratch = agent.run_ok("sha256sum /dev/vdb")?;
    agent.script(WRITER)?;
    grows("writing to the disk", || writes(&mut agent))?;
    let volumes = ctx.scratch.join("elsewhere");
    std::fs::create_dir_all(volumes.join("data"))?;
    let image = volumes.join("data/disk.qcow2");
    let (code, text) = beside_image(ctx, &["create", &image.to_string_lossy(), "16M", "-f", "qcow2"])?;
    ensure!(code == Some(0), "making an image ended with {code:?} and {text:?}");
    let address = format!("unix:{}", ctx.scratch.join("second.sock").display());
    let volumes = volumes.to_string_lossy();
    let args = ["--listen", &address, "--volumes", &volumes, "--copy-storage", "--agent-socket"];
    let next = Vm::receive(ctx, "second", "vm", &args)?;
    let moved = beside(ctx, "run", &["migrate", "vm", &address, "--downtime", "1000", "--copy-storage"])?;
    ensure!(moved.0 == Some(0), "the move ended with {moved:?}: {}", next.errors());
    vm.wait_exit(END)?.expect(0, "migrated")?;
    ctx.note(&vm.errors());
    vm = next;
    agent = vm.agent()?;
    grows("writing to the disk", || writes(&mut agent))?;
    let read = agent.script(READER)?;
    ensure!(read.trim() == "read", "sectors have other numbers than were written: {read}");
    agent.script("echo 3 > /proc/sys/vm/drop_caches")?;
    ensure!(agent.run_ok("sha256sum /dev/vdb")? == scratch, "the scratch disk has other contents");
    agent.send(&guest::protocol::Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown")?;
    let (code, text) = beside_image(ctx, &["check", &image.to_string_lossy()])?;
    ensure!(code == Some(0), "the image is not sound: {code:?} {text:?}");
    Ok(())
}

fn beside_image(ctx: &Ctx, args: &[&str]) -> Result<(Option<i32>, String), Failure> {
    let output = crate::vm::command(ctx).arg("image").args(args).output();
    let output = output.doing("starting kubevmm")?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}
