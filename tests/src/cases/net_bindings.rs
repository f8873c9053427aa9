//! Bindings that kubevmm carries out by itself, in a network namespace like a pod's, with a neighbour outside.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use crate::agent::Agent;
use crate::api;
use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::{END, Vm, wait};

use super::tools::tool;

pub(super) const CASES: &[Case] = &[
    Case::host("net-masquerade", masquerade).within(300),
    Case::host("net-bridge", bridge).within(300),
    Case::host("net-multus-bridge", multus_bridge).within(300),
    Case::host("net-leftovers", leftovers).within(400),
];

pub(super) const EXAMPLES: &str = "resources/examples";
/// The pod's address and the neighbour's, who is its gateway, too.
pub(super) const POD: &str = "10.244.0.7";
pub(crate) const OUTSIDE: &str = "10.244.0.1";

/// A network namespace like a pod's for this process, and one for its neighbour.
pub(crate) struct Pod {
    neighbour: String,
}

impl Pod {
    /// Makes both. `name` is the neighbour's and no other case's.
    pub(crate) fn make(name: &str) -> Result<Self, Failure> {
        guest::sys::unshare_network().doing("making a network namespace")?;
        tool("ip", &["netns", "add", name])?;
        let pod = Self { neighbour: name.to_owned() };
        for command in [
            "link set lo up",
            "link add eth0 mtu 1450 type veth peer name out0",
            "addr add 10.244.0.7/24 dev eth0",
            &format!("link set out0 netns {name}"),
            "link set eth0 up",
            "route add default via 10.244.0.1",
        ] {
            ip(command)?;
        }
        for command in
            ["ip addr add 10.244.0.1/24 dev out0", "ip link set out0 mtu 1450 up", "ip link set lo up"]
        {
            pod.outside(command)?;
        }
        Ok(pod)
    }

    /// Runs a program at the neighbour's.
    pub(super) fn outside(&self, command: &str) -> Result<String, Failure> {
        let words = ["netns", "exec", &self.neighbour].into_iter().chain(command.split_whitespace());
        tool("ip", &words.collect::<Vec<_>>())
    }

    /// Name of the neighbour's network namespace.
    pub(super) fn neighbour(&self) -> &str {
        &self.neighbour
    }

    /// Starts a server at the neighbour's that sends a file to whoever connects first.
    pub(crate) fn serve(&self, port: &str, file: &std::path::Path) -> Result<Child, Failure> {
        let mut command = Command::new("/usr/bin/ip");
        command.args(["netns", "exec", &self.neighbour, "/bin/busybox", "nc", "-l", "-p", port]);
        command.stdin(File::open(file)?).stdout(Stdio::null()).spawn().doing("starting a server")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Gone with the test host in any case.
        let _ = tool("ip", &["netns", "del", &self.neighbour]);
    }
}

pub(super) fn ip(command: &str) -> Result<String, Failure> {
    tool("ip", &command.split_whitespace().collect::<Vec<_>>())
}

/// The script that the guest's DHCP client runs with what it was told.
const CLIENT: &str = r#"cat > /tmp/dhcp <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
[ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
[ -z "$router" ] || ip route add default via "$router"
set > /tmp/lease
END
chmod +x /tmp/dhcp; ip link set lo up; ip link set eth0 up; udhcpc -f -n -q -t 10 -T 1 -i eth0 -s /tmp/dhcp -O mtu -O ntpsrv"#;

/// Lets the guest ask for its address; what it was told.
pub(super) fn configure(agent: &mut Agent) -> Result<String, Failure> {
    agent.script(CLIENT)?;
    agent.file("/tmp/lease")
}

/// A file from the neighbour to the guest, by this address.
pub(super) fn download(ctx: &Ctx, pod: &Pod, agent: &mut Agent, from: &str) -> Outcome {
    let file = ctx.claim("other", 1 << 20, 11)?;
    let sum = super::tools::busybox(&["md5sum", &file.to_string_lossy()])?;
    let mut server = pod.serve("5001", &file)?;
    super::tools::listens(server.id(), 5001)?;
    // A pipe that does not end: at the end of its input nc would shut the connection down.
    let received = agent.script(&format!(
        "mkfifo /tmp/open; nc -w 60 {from} 5001 <>/tmp/open >/tmp/there; md5sum /tmp/there"
    ));
    let _ = server.kill();
    server.wait()?;
    let received = received?;
    ensure!(
        received.split(' ').next() == sum.split(' ').next(),
        "the guest got {received:?} where {sum:?} was sent"
    );
    Ok(())
}

/// That a server in the guest, which listens at `port`, and the neighbour talk to each other, by the pod's address.
///
/// The neighbour speaks first: Debian 12's passt acknowledges a connection to the guest only with the first data for it,
/// so that a server that waits for this before it speaks waits for ever (fixed in passt 2023_09_08).
pub(super) fn answered(pod: &Pod, agent: &mut Agent, address: &str, port: &str) -> Outcome {
    let hexadecimal = format!("{:04X}", port.parse::<u16>().doing("reading a port")?);
    agent.script(&format!(
        "(echo hello | nc -l -p {port} > /tmp/heard 2>&1 &)
         for i in $(seq 300); do grep -q ':{hexadecimal} 0*:0000 0A ' /proc/net/tcp /proc/net/tcp6 && exit; sleep 0.1; done; exit 1"
    ))?;
    let mut command = Command::new("/usr/bin/ip");
    command.args(["netns", "exec", &pod.neighbour, "/bin/busybox", "nc", "-w", "60", address, port]);
    let mut client =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().doing("starting a client")?;
    let mut open = client.stdin.take();
    if let Some(to_guest) = &mut open {
        // One that is refused may be gone already.
        let _ = to_guest.write_all(b"hi\n");
    }
    let ended = wait(&mut client, END)?;
    drop(open);
    ended.ok_or("the neighbour's connection does not end")?;
    let output = client.wait_with_output()?;
    ensure!(output.stdout == b"hello\n", "the neighbour heard {:?}", String::from_utf8_lossy(&output.stdout));
    let heard = agent
        .script("for i in $(seq 300); do test -s /tmp/heard && break; sleep 0.1; done; cat /tmp/heard")?;
    ensure!(heard == "hi\n", "the guest heard {heard:?}");
    Ok(())
}

pub(super) fn power_off(vm: &mut Vm, agent: &mut Agent) -> Outcome {
    agent.send(&guest::protocol::Request::PowerOff)?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}

/// The names of all interfaces here.
fn interfaces() -> Result<Vec<String>, Failure> {
    let text = tool("ip", &["-br", "link"])?;
    let first = |line: &str| line.split([' ', '@']).next().unwrap_or_default().to_owned();
    Ok(text.lines().map(first).collect())
}

/// That the namespace is as it was made.
pub(super) fn nothing_is_left(ctx: &Ctx) -> Outcome {
    let names = interfaces()?;
    ensure!(names == ["lo", "eth0"], "there are {names:?}");
    let address = ip("-br addr show eth0")?;
    ensure!(address.contains("10.244.0.7/24"), "eth0 has {address:?}");
    let routes = ip("route")?;
    ensure!(routes.contains("default via 10.244.0.1"), "the routes are {routes:?}");
    let rules = tool("nft", &["list", "ruleset"])?;
    ensure!(rules.trim().is_empty(), "there are rules: {rules}");
    let forward = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").doing("reading a setting")?;
    ensure!(forward.trim() == "0", "forwarding is {forward:?}");
    let folder = ctx.scratch.join("run/.network");
    let files: Vec<_> =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
    ensure!(files.iter().all(|name| name == "lock"), "{} has {files:?}", folder.display());
    Ok(())
}

fn masquerade(ctx: &Ctx) -> Outcome {
    let pod = Pod::make("masquerade")?;
    let manifest = ctx.payload.join(EXAMPLES).join("masquerade.yaml");
    let mut vm = Vm::start_file(ctx, "masquerade", &manifest, &["--pod-network", "eth0"])?;
    let mut agent = vm.agent()?;
    let lease = configure(&mut agent)?;
    ensure!(lease.contains("ip='10.0.2.2'") && lease.contains("router='10.0.2.1'"), "the lease is {lease}");
    ensure!(lease.contains("mtu='1450'") && lease.contains("hostname='masquerade'"), "the lease is {lease}");
    rules_are_kubevirts()?;
    agent.run_ok(&format!("ping -c 2 -W 5 {OUTSIDE}"))?;
    download(ctx, &pod, &mut agent, OUTSIDE)?;
    answered(&pod, &mut agent, POD, "80")?;
    let refused = answered(&pod, &mut agent, POD, "81");
    ensure!(refused.is_err(), "a port that is not named leads to the guest");
    let status = std::fs::read_to_string(vm.runtime().join("vmi.json")).doing("reading the status")?;
    ensure!(status.contains(POD), "the status does not tell the address: {status}");
    lease_is_told(&vm)?;
    power_off(&mut vm, &mut agent)?;
    nothing_is_left(ctx)
}

/// That an event and the metrics tell of the guest's lease.
pub(crate) fn lease_is_told(vm: &Vm) -> Outcome {
    let events = std::fs::read_to_string(vm.runtime().join("events.jsonl")).doing("reading the events")?;
    let told = events.matches("AddressLeased").count();
    ensure!(told == 1, "the events tell of {told} leases: {events}");
    let text = api::call(&vm.runtime().join("api.sock"), "GET", "/metrics")?.text;
    let is_ours = |line: &str| {
        line.starts_with("kubevmm_dhcp_lease_timestamp_seconds{") && line.contains("address=\"10.0.2.2\"")
    };
    ensure!(text.lines().any(is_ours), "the metrics do not tell of the lease: {text}");
    Ok(())
}

/// The rules that KubeVirt makes for the example's ports, as nft lists them.
fn rules_are_kubevirts() -> Outcome {
    let rules = tool("nft", &["list", "ruleset"])?;
    // Each has a counter, as KubeVirt's have.
    let words: Vec<_> = rules.split_whitespace().collect();
    let mut plain = String::new();
    let mut skip = 0;
    for word in words {
        if word == "counter" {
            skip = 5;
        }
        if skip > 0 {
            skip -= 1;
            continue;
        }
        plain.push_str(word);
        plain.push(' ');
    }
    for rule in [
        "type nat hook prerouting priority dstnat; policy accept;",
        "type nat hook output priority -100; policy accept;",
        "type nat hook postrouting priority srcnat; policy accept;",
        "ip saddr 10.0.2.2 masquerade",
        "iifname \"eth0\" jump KUBEVIRT_PREINBOUND",
        "oifname \"k6t-eth0\" jump KUBEVIRT_POSTINBOUND",
        "tcp dport 80 dnat to 10.0.2.2",
        "tcp dport 80 ip saddr 127.0.0.1 snat to 10.0.2.1",
        "ip daddr 127.0.0.1 tcp dport 80 dnat to 10.0.2.2",
        "udp dport 5353 dnat to 10.0.2.2",
    ] {
        ensure!(plain.contains(rule), "there is no rule {rule:?} in {rules}");
    }
    Ok(())
}

fn bridge(ctx: &Ctx) -> Outcome {
    let pod = Pod::make("bridge")?;
    let manifest = ctx.payload.join(EXAMPLES).join("bridge.yaml");
    let mac = ip("-br link show eth0")?;
    let mac = mac.split_whitespace().nth(2).unwrap_or_default().to_owned();
    let mut vm = Vm::start_file(ctx, "bridge", &manifest, &["--pod-network", "eth0"])?;
    let mut agent = vm.agent()?;
    let cards = agent.identity()?.interfaces;
    ensure!(cards.iter().any(|card| card.mac == mac), "the pod has {mac}, the guest {cards:?}");
    let lease = configure(&mut agent)?;
    ensure!(lease.contains("ip='10.244.0.7'") && lease.contains("mask='24'"), "the lease is {lease}");
    ensure!(
        lease.contains("router='10.244.0.1'") && lease.contains("ntpsrv='192.0.2.123'"),
        "the lease is {lease}"
    );
    agent.run_ok(&format!("ping -c 2 -W 5 {OUTSIDE}"))?;
    pod.outside(&format!("busybox ping -c 2 -W 5 {POD}"))?;
    download(ctx, &pod, &mut agent, OUTSIDE)?;
    answered(&pod, &mut agent, POD, "80")?;
    power_off(&mut vm, &mut agent)?;
    nothing_is_left(ctx)?;
    // The pod has its address back.
    pod.outside(&format!("busybox ping -c 2 -W 5 {POD}")).map(drop)
}

fn multus_bridge(ctx: &Ctx) -> Outcome {
    let _pod = Pod::make("multus-bridge")?;
    let manifest = ctx.payload.join(EXAMPLES).join("multus-bridge.yaml");
    let mut vm = Vm::start_file(ctx, "multus-bridge", &manifest, &[])?;
    let mut agent = vm.agent()?;
    let lease = configure(&mut agent)?;
    ensure!(lease.contains("ip='192.168.77.10'"), "the lease is {lease}");
    ip("addr add 192.168.77.1/24 dev br-lan")?;
    agent.run_ok("ping -c 2 -W 5 192.168.77.1")?;
    power_off(&mut vm, &mut agent)?;
    nothing_is_left(ctx)
}

/// What a killed process leaves goes with the next run of any machine.
fn leftovers(ctx: &Ctx) -> Outcome {
    let _pod = Pod::make("leftovers")?;
    for (example, signal) in [("masquerade", libc::SIGKILL), ("bridge", libc::SIGABRT)] {
        let manifest = ctx.payload.join(EXAMPLES).join(format!("{example}.yaml"));
        let mut vm = Vm::start_file(ctx, example, &manifest, &["--pod-network", "eth0"])?;
        vm.agent()?;
        vm.signal(signal)?;
        let ended = vm.wait_exit(END)?;
        ensure!(ended.signal == Some(signal), "it ended by {:?}", ended.signal);
        let names = interfaces()?;
        ensure!(names.iter().any(|name| name == "k6t-eth0"), "nothing was left to clean: {names:?}");
        let hello = ctx.payload.join(EXAMPLES).join("hello.yaml");
        let mut other = Vm::start_file(ctx, "hello", &hello, &[])?;
        let mut agent = other.agent()?;
        nothing_is_left(ctx)?;
        power_off(&mut other, &mut agent)?;
    }
    Ok(())
}
