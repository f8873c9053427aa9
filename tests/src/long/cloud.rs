//! cloud-init in Debian applies what a manifest gives it, and has its network configured by what the card answers.

use std::time::{Duration, Instant};

use guest::protocol::Request;
use serde_json::json;

use super::debian;
use crate::agent::Agent;
use crate::case::Ctx;
use crate::cases::net_bindings::{OUTSIDE, Pod, lease_is_told};
use crate::cases::tools::{busybox, more_tap};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::Vm;

const MAC: &str = "02:00:00:00:77:01";
/// The card whose address cloud-init asks for by DHCP.
const POD_MAC: &str = "02:00:00:00:77:02";
/// How long cloud-init may take once the guest answers, and the guest's end.
const PATIENCE: Duration = Duration::from_secs(1200);

const USER_DATA: &str = "#cloud-config
users:
- name: tester
  shell: /bin/sh
  ssh_authorized_keys: [ssh-ed25519 AAAAfromuserdata tester]
write_files:
- path: /etc/from-cloud-init
  content: written by cloud-init
runcmd:
- echo ran > /run/from-runcmd
";
const NETWORK: &str = "version: 2
ethernets:
  lan:
    match: {macaddress: '02:00:00:00:77:01'}
    set-name: lan
    addresses: [10.78.7.2/24]
  pod:
    match: {macaddress: '02:00:00:00:77:02'}
    set-name: pod
    dhcp4: true
";

pub(super) fn debian(ctx: &Ctx) -> Outcome {
    debian::prepare(ctx)?;
    let pod = Pod::make("cloud")?;
    more_tap("lan0", "10.78.7.1/24")?;
    let mut machine = debian::machine().tap("net", MAC);
    let card = json!({"name": "default", "macAddress": POD_MAC, "masquerade": {}, "ports": [{"port": 80}]});
    machine.push("/spec/domain/devices/interfaces", card);
    machine.push("/spec/networks", json!({"name": "default", "pod": {}}));
    for (name, source) in [
        ("seed", json!({"cloudInitNoCloud": {"secretRef": {"name": "user-data"}, "networkData": NETWORK}})),
        ("settings", json!({"configMap": {"name": "settings"}})),
        ("keys", json!({"secret": {"secretName": "keys", "volumeLabel": "keys"}})),
    ] {
        let mut volume = source;
        volume["name"] = json!(name);
        machine.push("/spec/domain/devices/disks", json!({"name": name, "disk": {"bus": "virtio"}}));
        machine.push("/spec/volumes", volume);
    }
    let object = |kind: &str, name: &str, key: &str, data: serde_json::Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, key: data});
    let objects = vec![
        object("Secret", "user-data", "stringData", json!({"userdata": USER_DATA})),
        object("Secret", "keys", "stringData", json!({"token": "open sesame"})),
        object("ConfigMap", "settings", "data", json!({"app.conf": "port = 8080\n", "motd": "hello\n"})),
    ];
    let options = debian::options(ctx);
    let mut args: Vec<&str> = options.iter().map(String::as_str).collect();
    args.extend(["--tap", "net=lan0", "--pod-network", "eth0"]);
    let started = Instant::now();
    let mut vm = Vm::start(ctx, &debian::with_objects(machine, objects), &args)?;
    let mut agent = vm.agent_within(debian::BOOT)?;
    ctx.note(&format!("the guest answers after {:.0} s", started.elapsed().as_secs_f64()));
    debian::until(&mut agent, "test -f /run/cloud-init/result.json", PATIENCE)
        .doing("waiting for cloud-init")?;
    ctx.note(&format!("cloud-init has ended after {:.0} s", started.elapsed().as_secs_f64()));
    applied(&mut agent)?;
    leased(ctx, &vm, &mut agent, &pod)?;
    disks_of_files(&mut agent)?;
    agent.script("systemctl poweroff --no-block")?;
    drop(agent);
    vm.wait_exit(PATIENCE)?.expect(0, "guest-shutdown").map(drop)
}

/// What cloud-init was told to do is done.
fn applied(agent: &mut Agent) -> Outcome {
    let result = agent.file("/run/cloud-init/result.json")?;
    ensure!(result.contains("DataSourceNoCloud") && result.contains("\"errors\": []"), "it says {result}");
    let hostname = agent.script("hostname")?;
    ensure!(hostname.trim() == "oracle", "the host name is {hostname:?}");
    let written = agent.file("/etc/from-cloud-init")?;
    ensure!(written == "written by cloud-init", "the file that was to be written says {written:?}");
    ensure!(agent.file("/run/from-runcmd")?.trim() == "ran", "the command that was to be run was not");
    let user = agent.script("id -un tester; cat ~tester/.ssh/authorized_keys")?;
    ensure!(user.starts_with("tester\n") && user.contains("AAAAfromuserdata"), "the user is {user:?}");
    let address = agent.script("ip -4 -o addr show dev lan")?;
    ensure!(address.contains("10.78.7.2/24"), "the card's address is {address:?}");
    busybox(&["ping", "-c", "3", "-W", "10", "10.78.7.2"]).map(drop)
}

/// systemd-networkd, which cloud-init told to, has taken what the card answered, and the guest reaches out by it.
fn leased(ctx: &Ctx, vm: &Vm, agent: &mut Agent, pod: &Pod) -> Outcome {
    let address = debian::until(agent, "ip -4 -o addr show dev pod | grep 10.0.2.2/24", PATIENCE)?;
    ensure!(address.contains("dynamic"), "it does not come from a lease: {address}");
    let route = agent.script("ip route show default; ip link show pod")?;
    ensure!(route.contains("default via 10.0.2.1 dev pod"), "the routes are {route:?}");
    ensure!(route.contains("mtu 1450"), "the card is {route:?}");
    let greeting = ctx.scratch.join("greeting");
    std::fs::write(&greeting, "hello\n")?;
    let mut server = pod.serve("5001", &greeting)?;
    let client = format!("import socket; print(socket.create_connection(('{OUTSIDE}', 5001), 60).recv(6))");
    let heard = agent.script(&format!("python3 -c \"{client}\""));
    let _ = server.kill();
    server.wait()?;
    let heard = heard?;
    ensure!(heard.contains("hello"), "the guest hears {heard:?} of its pod's neighbour");
    lease_is_told(vm)
}

fn disks_of_files(agent: &mut Agent) -> Outcome {
    let read = |agent: &mut Agent, label: &str, names: &str| -> Result<String, Failure> {
        let at = format!("/mnt/{label}");
        agent.script(&format!(
            "mkdir -p {at} && mount -t iso9660 -o ro /dev/disk/by-label/{label} {at} && cd {at} && test \"$(echo *)\" = '{names}' && cat {names}"
        ))
    };
    let settings = read(agent, "cfgdata", "app.conf motd")?;
    ensure!(settings == "port = 8080\nhello\n", "the ConfigMap's disk has {settings:?}");
    let keys = read(agent, "keys", "token")?;
    ensure!(keys == "open sesame", "the Secret's disk has {keys:?}");
    agent.call(&Request::Ping).map(drop)
}
