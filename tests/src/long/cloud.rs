//! cloud-init in Debian applies what a manifest gives it.

use std::time::{Duration, Instant};

use guest::protocol::Request;
use serde_json::json;

use super::debian;
use crate::agent::Agent;
use crate::case::Ctx;
use crate::cases::tools::{busybox, tap};
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::Vm;

const MAC: &str = "02:00:00:00:77:01";
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
";

pub(super) fn debian(ctx: &Ctx) -> Outcome {
    debian::prepare(ctx)?;
    tap("tap0", "10.78.7.1/24")?;
    let mut machine = debian::machine().tap("net", MAC);
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
    args.extend(["--tap", "net=tap0"]);
    let started = Instant::now();
    let mut vm = Vm::start(ctx, &debian::with_objects(machine, objects), &args)?;
    let mut agent = vm.agent_within(debian::BOOT)?;
    ctx.note(&format!("the guest answers after {:.0} s", started.elapsed().as_secs_f64()));
    debian::until(&mut agent, "test -f /run/cloud-init/result.json", PATIENCE)
        .doing("waiting for cloud-init")?;
    ctx.note(&format!("cloud-init has ended after {:.0} s", started.elapsed().as_secs_f64()));
    applied(&mut agent)?;
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
