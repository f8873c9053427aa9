//! Guests among others: two on one bridge, one on its host's segment where somebody else gives addresses, one with IPv6
//! behind its host.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::agent::Agent;
use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::Vm;

use super::net_bindings::{EXAMPLES, Pod, answered, configure, download, ip, nothing_is_left, power_off};
use super::tools::tool;

pub(super) const CASES: &[Case] = &[
    Case::host("net-two-guests-on-a-bridge", two_guests).within(400),
    Case::host("net-macvtap-among-strangers", macvtap).within(300),
    Case::host("net-masquerade-ipv6", ipv6).within(300),
];

/// The pod's address of IPv6, and the neighbour's.
const POD6: &str = "fd00:244::7";
const OUTSIDE6: &str = "fd00:244::1";

/// The example of a bridge with another name and address.
fn another(ctx: &Ctx, name: &str, address: &str) -> Result<Vm, Failure> {
    let example = ctx.payload.join(EXAMPLES).join("multus-bridge.yaml");
    let text = fs::read_to_string(example).doing("reading the example")?;
    let text =
        text.replace("name: multus-bridge", &format!("name: {name}")).replace("192.168.77.10", address);
    let path = ctx.results.join(format!("{name}.yaml"));
    fs::write(&path, text).doing("writing a manifest")?;
    Vm::start_file(ctx, name, &path, &[])
}

fn two_guests(ctx: &Ctx) -> Outcome {
    let _pod = Pod::make("two-guests")?;
    let mut first = another(ctx, "first", "192.168.77.10")?;
    let mut second = another(ctx, "second", "192.168.77.11")?;
    let (mut one, mut two) = (first.agent()?, second.agent()?);
    for (agent, address) in [(&mut one, "192.168.77.10"), (&mut two, "192.168.77.11")] {
        let lease = configure(agent)?;
        ensure!(lease.contains(&format!("ip='{address}'")), "the lease is {lease}");
    }
    one.run_ok("ping -c 2 -W 5 192.168.77.11")?;
    two.run_ok("ping -c 2 -W 5 192.168.77.10")?;
    // Long frames, which nobody cuts into segments on the way.
    one.script("dd if=/dev/urandom of=/tmp/file bs=1M count=2 2>/dev/null; (nc -l -p 5001 < /tmp/file > /dev/null 2>&1 &); \
                for i in $(seq 300); do grep -q ':1389 0*:0000 0A ' /proc/net/tcp /proc/net/tcp6 && exit; sleep 0.1; done; exit 1")?;
    let sent = one.script("md5sum < /tmp/file")?;
    let got = two.script("mkfifo /tmp/open; nc -w 60 192.168.77.10 5001 <>/tmp/open | md5sum")?;
    ensure!(sent == got, "one sent {sent}, two got {got}");
    power_off(&mut first, &mut one)?;
    let names = tool("ip", &["-br", "link"])?;
    ensure!(names.contains("br-lan"), "the second guest's bridge went with the first: {names}");
    power_off(&mut second, &mut two)?;
    nothing_is_left(ctx)
}

/// Ends a server of the case's with it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives addresses on the neighbour's segment.
fn dnsmasq(pod: &Pod) -> Result<Server, Failure> {
    let mut command = Command::new("/usr/bin/ip");
    command.args([
        "netns",
        "exec",
        pod.neighbour(),
        "/usr/bin/dnsmasq",
        "--no-daemon",
        "--port=0",
        "--leasefile-ro",
    ]);
    command.args(["--conf-file=/dev/null", "--user=root", "--interface=out0", "--no-ping"]);
    command.args(["--dhcp-range=10.244.0.100,10.244.0.100,255.255.255.0", "--dhcp-option=3,10.244.0.1"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().doing("starting dnsmasq").map(Server)
}

fn macvtap(ctx: &Ctx) -> Outcome {
    let pod = Pod::make("macvtap")?;
    let _server = dnsmasq(&pod)?;
    let manifest = ctx.payload.join(EXAMPLES).join("macvtap.yaml");
    let mut vm = Vm::start_file(ctx, "macvtap", &manifest, &["--multus", "lan=eth0"])?;
    let mut agent = vm.agent()?;
    let cards = agent.identity()?.interfaces;
    ensure!(cards.iter().any(|card| card.mac == "02:00:00:aa:bb:02"), "the guest has {cards:?}");
    let lease = configure(&mut agent)?;
    ensure!(lease.contains("ip='10.244.0.100'"), "the neighbour's server told the guest {lease}");
    agent.run_ok("ping -c 2 -W 5 10.244.0.1")?;
    pod.outside("busybox ping -c 2 -W 5 10.244.0.100")?;
    download(ctx, &pod, &mut agent, "10.244.0.1")?;
    power_off(&mut vm, &mut agent)?;
    nothing_is_left(ctx)
}

/// Waits until the guest believes the router that its card advertises.
fn wait_for_router(agent: &mut Agent) -> Outcome {
    let script = "ip link set lo up; ip link set eth0 up; \
        for i in $(seq 120); do ip -6 route | grep -q '^default via fe80::ff:fe00:0 ' && break; sleep 0.5; done; ip -6 route";
    let routes = agent.script(script)?;
    ensure!(routes.contains("default via fe80::ff:fe00:0 dev eth0"), "the routes are {routes}");
    ensure!(routes.contains("fd10:0:2::/120 dev eth0"), "the routes are {routes}");
    Ok(())
}

fn ipv6(ctx: &Ctx) -> Outcome {
    let pod = Pod::make("masquerade6")?;
    ip(&format!("-6 addr add {POD6}/64 dev eth0 nodad"))?;
    pod.outside(&format!("/usr/bin/ip -6 addr add {OUTSIDE6}/64 dev out0 nodad"))?;
    ip(&format!("-6 route add default via {OUTSIDE6}"))?;
    let manifest = ctx.payload.join(EXAMPLES).join("masquerade.yaml");
    let mut vm = Vm::start_file(ctx, "masquerade", &manifest, &["--pod-network", "eth0"])?;
    let mut agent = vm.agent()?;
    wait_for_router(&mut agent)?;
    // Busybox has no client of DHCPv6: this is what one would be told.
    agent.script(
        "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; ip -6 addr add fd10:0:2::2/120 dev eth0",
    )?;
    agent.run_ok(&format!("ping -6 -c 2 -W 5 {OUTSIDE6}"))?;
    answered(&pod, &mut agent, POD6, "80")?;
    power_off(&mut vm, &mut agent)?;
    let rules = tool("nft", &["list", "ruleset"])?;
    ensure!(rules.trim().is_empty(), "there are rules: {rules}");
    let forward = fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding").doing("reading a setting")?;
    ensure!(forward.trim() == "0", "forwarding is {forward:?}");
    nothing_is_left(ctx)
}
