//! Frames between the guest and a tap.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use crate::agent::Agent;
use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::{END, Vm, wait};

use super::net_vhost::served;
use super::tools::{busybox, listens, tap};

pub(super) const CASES: &[Case] = &[
    Case::host("net-ping", ping),
    Case::host("net-bulk-both-ways", bulk).within(300),
    Case::host("net-vhost", vhost).within(300),
    Case::host("net-vhost-bulk-both-ways", vhost_bulk).within(300),
];

const MAC: &str = "02:00:00:aa:bb:01";

fn start(ctx: &Ctx) -> Result<Vm, Failure> {
    tap("tap0", "10.77.0.1/24")?;
    let manifest = Manifest::linux("vm", &ctx.guest_image(), "vmlinux").tap("lan", MAC);
    Vm::start(ctx, &manifest, &["--tap", "lan=tap0"])
}

/// A guest of two processors whose frames the kernel moves.
fn start_vhost(ctx: &Ctx) -> Result<Vm, Failure> {
    tap("tap0", "10.77.0.1/24")?;
    let manifest = served(Manifest::linux("vm", &ctx.guest_image(), "vmlinux").cores(2));
    Vm::start(ctx, &manifest, &["--tap", "lan=tap0"])
}

fn ping(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx)?;
    let mut agent = vm.agent()?;
    let interfaces = agent.identity()?.interfaces;
    let mac = interfaces.first().map(|interface| interface.mac.as_str());
    ensure!(mac == Some(MAC), "the guest has {interfaces:?}");
    agent.run_ok("ip link set eth0 up")?;
    agent.run_ok("ip addr add 10.77.0.2/24 dev eth0")?;
    for size in ["56", "1400", "9000"] {
        agent.run_ok(&format!("ping -c 3 -W 5 -i 0.2 -s {size} 10.77.0.1"))?;
        busybox(&["ping", "-c", "3", "-W", "5", "-i", "0.2", "-s", size, "10.77.0.2"])?;
    }
    Ok(())
}

/// The kernel moves the frames, also after its queues were stopped and started, and wherever their interrupts go.
fn vhost(ctx: &Ctx) -> Outcome {
    let mut vm = start_vhost(ctx)?;
    let mut agent = vm.agent()?;
    let is_worker = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.and_then(|entry| fs::read_to_string(entry.path().join("comm")));
        name.is_ok_and(|name| name.starts_with("vhost-"))
    };
    ensure!(fs::read_dir("/proc")?.any(is_worker), "no worker of the kernel serves the card");
    let driver = "/sys/bus/virtio/drivers/virtio_net";
    for round in 0..3 {
        if round > 0 {
            agent.script(&format!(
                "cd {driver}; card=$(echo virtio*); echo $card > unbind; echo $card > bind; \
                 for i in $(seq 300); do test -e /sys/class/net/eth0 && exit; sleep 0.1; done; exit 1"
            ))?;
        }
        agent.run_ok("ip link set eth0 up")?;
        agent.run_ok("ip addr add 10.77.0.2/24 dev eth0")?;
        for (size, processor) in [("56", "2"), ("9000", "1")] {
            // Linux masks a vector, writes its message anew, and unmasks it.
            agent.script(&format!(
                "for irq in $(grep -E 'virtio[0-9]+-(in|out)put' /proc/interrupts | cut -d: -f1); do
                 echo {processor} > /proc/irq/$irq/smp_affinity || exit 1; done"
            ))?;
            agent.run_ok(&format!("ping -c 3 -W 5 -i 0.2 -s {size} 10.77.0.1"))?;
            busybox(&["ping", "-c", "3", "-W", "5", "-i", "0.2", "-s", size, "10.77.0.2"])?;
        }
    }
    let interrupts = agent.script("grep -E 'virtio[0-9]+-(in|out)put' /proc/interrupts")?;
    let counts = |line: &str| line.split_whitespace().skip(1).take(2).all(|count| count != "0");
    ensure!(interrupts.lines().count() >= 2 && interrupts.lines().all(counts), "they came so: {interrupts}");
    to_guest(ctx, &mut agent).map(drop)
}

/// A file each way through the kernel's queues.
fn vhost_bulk(ctx: &Ctx) -> Outcome {
    tap("tap0", "10.77.0.1/24")?;
    let manifest = served(Manifest::linux("vm", &ctx.guest_image(), "vmlinux"));
    both_ways(ctx, &mut Vm::start(ctx, &manifest, &["--tap", "lan=tap0"])?)
}

/// A file each way over TCP, so that segmentation offloads, merged buffers and full rings are used.
fn bulk(ctx: &Ctx) -> Outcome {
    both_ways(ctx, &mut start(ctx)?)
}

fn both_ways(ctx: &Ctx, vm: &mut Vm) -> Outcome {
    let mut agent = vm.agent()?;
    agent.run_ok("ip link set eth0 up")?;
    agent.run_ok("ip addr add 10.77.0.2/24 dev eth0")?;
    let sum = to_guest(ctx, &mut agent)?;
    to_host(ctx, &mut agent, &sum)
}

/// Sends a file to the guest; its checksum.
fn to_guest(ctx: &Ctx, agent: &mut Agent) -> Result<String, Failure> {
    let file = ctx.claim("other", 8 << 20, 11)?;
    let sum = busybox(&["md5sum", &file.to_string_lossy()])?;
    let sum = sum.split(' ').next().unwrap_or_default();

    let mut server = nc(&["-l", "-p", "5001"], File::open(&file)?.into(), Stdio::null())?;
    listens(server.id(), 5001)?;
    // A pipe that does not end: at the end of its input nc would shut the connection down.
    let received =
        agent.script("mkfifo /tmp/open; nc -w 60 10.77.0.1 5001 <>/tmp/open >/tmp/there; md5sum /tmp/there");
    server.kill()?;
    server.wait()?;
    let received = received?;
    ensure!(received.starts_with(sum), "the guest got {received:?} where {sum} was sent");
    Ok(sum.to_owned())
}

/// Has the guest send it back.
fn to_host(ctx: &Ctx, agent: &mut Agent, sum: &str) -> Outcome {
    let back = ctx.scratch.join("back");
    let mut server = nc(&["-l", "-p", "5002"], Stdio::piped(), File::create(&back)?.into())?;
    let open = server.stdin.take();
    listens(server.id(), 5002)?;
    agent.script("nc -w 60 10.77.0.1 5002 < /tmp/there")?;
    let ended = wait(&mut server, END)?;
    drop(open);
    ended.ok_or("the guest's file does not end")?;
    let returned = busybox(&["md5sum", &back.to_string_lossy()])?;
    ensure!(returned.starts_with(sum), "the host got another file back");
    Ok(())
}

fn nc(arguments: &[&str], input: Stdio, output: Stdio) -> Result<Child, Failure> {
    let mut command = Command::new("/bin/busybox");
    command.arg("nc").args(arguments).stdin(input).stdout(output).spawn().doing("starting nc")
}
