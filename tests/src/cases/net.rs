//! Frames between the guest and a tap.

use std::process::Command;

use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::Outcome;
use crate::manifest::Manifest;
use crate::vm::Vm;

use super::tools::{busybox, tap};

pub(super) const CASES: &[Case] =
    &[Case::host("net-ping", ping), Case::host("net-bulk-both-ways", bulk).within(150)];

const MAC: &str = "02:00:00:aa:bb:01";

fn start(ctx: &Ctx) -> Result<Vm, crate::failure::Failure> {
    tap("tap0", "10.77.0.1/24")?;
    let manifest = Manifest::linux("vm", &ctx.guest_image(), "vmlinux").tap("lan", MAC);
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

/// A file each way over TCP, so that segmentation offloads, merged buffers and full rings are used.
fn bulk(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx)?;
    let mut agent = vm.agent()?;
    agent.run_ok("ip link set eth0 up")?;
    agent.run_ok("ip addr add 10.77.0.2/24 dev eth0")?;
    let (there, back) = (ctx.scratch.join("there"), ctx.scratch.join("back"));
    std::fs::rename(ctx.claim("other", 8 << 20, 11)?, &there)?;
    let sum = busybox(&["md5sum", &there.to_string_lossy()])?;
    let sum = sum.split(' ').next().unwrap_or_default();

    let folder = ctx.scratch.to_string_lossy().into_owned();
    let mut server =
        Command::new("/bin/busybox").args(["httpd", "-f", "-p", "10.77.0.1:80", "-h", &folder]).spawn()?;
    let fetched = agent.run_ok("wget -q -T 60 -O /tmp/there http://10.77.0.1/there");
    server.kill()?;
    server.wait()?;
    fetched?;
    let seen = agent.run_ok("md5sum /tmp/there")?;
    ensure!(seen.starts_with(sum), "the guest got another file");

    agent.run_ok("httpd -p 80 -h /tmp")?;
    busybox(&["wget", "-q", "-T", "60", "-O", &back.to_string_lossy(), "http://10.77.0.2/there"])?;
    let returned = busybox(&["md5sum", &back.to_string_lossy()])?;
    ensure!(returned.starts_with(sum), "the host got another file back");
    Ok(())
}
