//! A stock guest that moves from process to process while it writes to its disk and holds a connection.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::tools::tool;
use crate::agent::Agent;
use crate::case::{Case, Ctx};
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{BOOT, END, Vm};

pub(super) const CASES: &[Case] = &[Case::host("migrate-three-times", three_times).within(300)];

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
    let (before, limit) = (size()?, Instant::now() + BOOT);
    while size()? <= before {
        ensure!(Instant::now() < limit, "{what} does not go on");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn three_times(ctx: &Ctx) -> Outcome {
    network()?;
    ctx.claim("data", 16 << 20, 1)?;
    let linux = Manifest::linux("vm", &ctx.guest_image(), "vmlinux").tap("lan", MAC);
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
        let limit = Instant::now() + BOOT;
        while !next.errors().contains("waiting for") {
            ensure!(Instant::now() < limit, "the destination does not listen: {}", next.errors());
            thread::sleep(Duration::from_millis(50));
        }
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
