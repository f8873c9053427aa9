//! kubevmm and Debian's qemu-guest-agent in the guest, and guests that have something else on its port.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use guest::protocol::READY;
use serde_json::{Value, json};

use super::tools::tap;
use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Failure, Outcome};
use crate::machine::{self, condition};
use crate::manifest::Manifest;
use crate::vm::{BOOT, END, Vm};
use crate::wait::{SOON, until};

pub(super) const CASES: &[Case] = &[
    Case::host("agent-facts", facts).within(300),
    Case::host("agent-exec", exec).within(300),
    Case::host("agent-freeze", freeze).within(300),
    Case::host("agent-soft-reboot", soft_reboot).within(400),
    Case::host("agent-credentials", credentials).within(400),
    Case::host("agent-readiness", readiness).within(400),
    Case::host("agent-liveness", liveness).within(400),
    Case::host("agent-flood", flood).within(300),
];

const MAC: &str = "02:00:00:aa:bb:07";
/// A guest with Debian's agent.
pub(super) fn manifest(ctx: &Ctx, words: &str) -> Manifest {
    let mut manifest = Manifest::linux("vm", &ctx.guest_image(), "vmlinux");
    manifest.set("/spec/domain/firmware/kernelBoot/container/initrdPath", json!("/boot/initrd-agent.img"));
    manifest.kernel_args(&format!("guest.agent=/etc/agent {words}"))
}

/// Waits until the agent is there.
pub(super) fn connected(vm: &Vm) -> Result<Value, Failure> {
    machine::wait_for(vm.runtime(), BOOT, "the agent", |machine| {
        condition(machine, "AgentConnected") == "True"
    })
}

/// Runs a shell's script in the guest; its exit code and what it wrote.
fn script(folder: &Path, script: &str) -> Result<(i64, String), Failure> {
    let body = json!({ "command": ["sh", "-c", script], "timeout": "60s" });
    let outcome = machine::subresource(folder, "PUT", "exec", &body)?;
    let text = outcome["stdout"].as_str().unwrap_or_default();
    let text = spec::base64::decode(text).map_err(|error| Failure(error.to_string()))?;
    Ok((outcome["exitCode"].as_i64().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned()))
}

/// The guest's disk with a file system, as the claim `data`.
pub(super) fn disk(ctx: &Ctx) -> Result<(), Failure> {
    let folder = ctx.volumes().join("data");
    fs::create_dir_all(&folder)?;
    fs::copy(ctx.guest("disk/disk.img"), folder.join("disk.img"))?;
    Ok(())
}

fn facts(ctx: &Ctx) -> Outcome {
    tap("tap0", "10.77.0.1/24")?;
    disk(ctx)?;
    let manifest = manifest(ctx, "address=10.77.0.2/24").tap("lan", MAC).claim("data", "data", json!({}));
    let vm = Vm::start_with_agent(ctx, &manifest, &["--tap", "lan=tap0"])?;
    let started = Instant::now();
    connected(&vm)?;
    ctx.note(&format!("the agent was there {:?} after the start", started.elapsed()));
    let machine = machine::wait_for(vm.runtime(), SOON, "the guest's address", |machine| {
        machine.pointer("/status/interfaces/0/ipAddress").is_some_and(|ip| ip == "10.77.0.2")
    })?;
    let card = machine.pointer("/status/interfaces/0").cloned().unwrap_or_default();
    ensure!(
        card["interfaceName"] == "eth0" && card["name"] == "lan" && card["mac"] == MAC,
        "the card is {card}"
    );
    ensure!(card["infoSource"] == "domain, guest-agent", "the card is {card}");
    let os = machine.pointer("/status/guestOSInfo").cloned().unwrap_or_default();
    ensure!(os["id"] == "test" && os["machine"] == "x86_64", "the system is {os}");

    let info = machine::subresource(vm.runtime(), "GET", "guestosinfo", &Value::Null)?;
    ensure!(info["fsFreezeStatus"] == "thawed" && info["hostname"] == "agent-guest", "{info}");
    ensure!(info["guestAgentVersion"].as_str().is_some_and(|version| version.starts_with('7')), "{info}");
    let users = machine::subresource(vm.runtime(), "GET", "userlist", &Value::Null)?;
    ensure!(users["items"] == json!([]), "{users}");
    let systems = machine::subresource(vm.runtime(), "GET", "filesystemlist", &Value::Null)?;
    let root = systems.pointer("/items/0").cloned().unwrap_or_default();
    ensure!(root["mountPoint"] == "/mnt" && root["fileSystemType"] == "ext4", "{systems}");
    ensure!(root.pointer("/disk/0/busType").is_some_and(|bus| bus == "virtio"), "{systems}");
    Ok(())
}

fn exec(ctx: &Ctx) -> Outcome {
    let vm = Vm::start_with_agent(ctx, &manifest(ctx, ""), &[])?;
    connected(&vm)?;
    let folder = vm.runtime();
    let started = Instant::now();
    ensure!(script(folder, "uname -s; exit 5")? == (5, "Linux\n".into()), "uname says something else");
    ctx.note(&format!("a program took {:?}", started.elapsed()));
    let body = json!({ "command": ["tr", "a-z", "A-Z"], "stdin": spec::base64::encode(b"loud") });
    let outcome = machine::subresource(folder, "PUT", "exec", &body)?;
    ensure!(outcome["stdout"] == spec::base64::encode(b"LOUD"), "{outcome}");
    let (code, text) = script(folder, "yes | head -c 1000000")?;
    ensure!(code == 0 && text.len() == 1_000_000, "{code}, {} bytes", text.len());
    let missing = json!({ "command": ["/no/such/program"] }).to_string();
    let said = machine::ask(folder, "PUT", &machine::subresource_path("exec"), &missing)?;
    ensure!(said.status == 500, "{said:?}");
    let slow = json!({ "command": ["sleep", "100"], "timeout": "1s" }).to_string();
    let said = machine::ask(folder, "PUT", &machine::subresource_path("exec"), &slow)?;
    ensure!(said.status == 504 && said.text.contains("process"), "{said:?}");
    let other = machine::subresource_path("exec").replace("/vm/", "/other/");
    ensure!(machine::ask(folder, "PUT", &other, "")?.status == 404, "another machine's agent answers");
    Ok(())
}

fn freeze(ctx: &Ctx) -> Outcome {
    disk(ctx)?;
    let manifest = manifest(ctx, "").claim("data", "data", json!({}));
    let mut vm = Vm::start_with_agent(ctx, &manifest, &[])?;
    connected(&vm)?;
    let folder = vm.runtime().to_owned();
    let status = |wanted: &'static str| {
        move |machine: &Value| {
            machine.pointer("/status/fsFreezeStatus").and_then(Value::as_str).unwrap_or_default() == wanted
        }
    };
    for timeout in ["1m", "10s"] {
        machine::subresource(&folder, "PUT", "freeze", &json!({ "unfreezeTimeout": timeout }))?;
        machine::wait_for(&folder, SOON, "file systems to be frozen", status("frozen"))?;
        let word = format!("wrote-{timeout}");
        vm.type_in(&format!("touch /mnt/{timeout} && echo wrote''-{timeout}\n"))?;
        if timeout == "1m" {
            thread::sleep(Duration::from_secs(3));
            ensure!(!vm.console().text().contains(&word), "a frozen file system was written to");
            let said =
                machine::ask(&folder, "PUT", &machine::subresource_path("exec"), r#"{"command":["true"]}"#)?;
            ensure!(said.status == 409, "{said:?}");
            machine::subresource(&folder, "PUT", "unfreeze", &Value::Null)?;
        }
        // The second time nobody says so.
        machine::wait_for(&folder, SOON, "file systems to be unfrozen", status(""))?;
        vm.console().wait_for(&word, SOON)?;
    }
    ensure!(vm.errors().contains("not unfrozen in time"), "nothing was said of it: {}", vm.errors());
    Ok(())
}

fn soft_reboot(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start_with_agent(ctx, &manifest(ctx, ""), &[])?;
    connected(&vm)?;
    let (_, first) = script(vm.runtime(), "cat /proc/sys/kernel/random/boot_id")?;
    machine::subresource(vm.runtime(), "PUT", "softreboot", &Value::Null)?;
    vm.console().wait_for_times(READY, 2, BOOT)?;
    connected(&vm)?;
    let mut second = String::new();
    until("an agent that answers", || {
        let said = script(vm.runtime(), "cat /proc/sys/kernel/random/boot_id");
        second = said.as_ref().map(|(_, text)| text.clone()).unwrap_or_default();
        Ok(said.is_ok())
    })?;
    ensure!(first != second, "it is the same boot");
    vm.type_in("poweroff -f\n")?;
    let ended = vm.wait_exit(END)?;
    let report = ended.expect(0, "guest-shutdown")?;
    ensure!(report.reboots == 1, "{} reboots were counted", report.reboots);
    Ok(())
}

fn credentials(ctx: &Ctx) -> Outcome {
    let secrets = ctx.scratch.join("secrets");
    let keys = secrets.join("keys");
    fs::create_dir_all(&keys)?;
    fs::create_dir_all(secrets.join("passwords"))?;
    fs::write(keys.join("one"), "ssh-ed25519 AAAAone test\n")?;
    fs::write(secrets.join("passwords/debian"), "geheim")?;
    let mut manifest = manifest(ctx, "");
    manifest.set(
        "/spec/accessCredentials",
        json!([
            { "sshPublicKey": {
                "source": { "secret": { "secretName": "keys" } },
                "propagationMethod": { "qemuGuestAgent": { "users": ["debian"] } },
            } },
            { "userPassword": {
                "source": { "secret": { "secretName": "passwords" } },
                "propagationMethod": { "qemuGuestAgent": {} },
            } },
        ]),
    );
    let secrets = secrets.to_string_lossy().into_owned();
    let vm = Vm::start_with_agent(ctx, &manifest, &["--secrets", &secrets])?;
    machine::wait_for(vm.runtime(), BOOT, "keys and passwords", |machine| {
        condition(machine, "AccessCredentialsSynchronized") == "True"
    })?;
    let authorized = || script(vm.runtime(), "cat /home/debian/.ssh/authorized_keys").map(|(_, text)| text);
    ensure!(
        authorized()?.trim_end() == "ssh-ed25519 AAAAone test",
        "the key is not there: {:?}",
        authorized()
    );
    let (_, shadow) = script(vm.runtime(), "grep '^debian:[$]' /etc/shadow")?;
    ensure!(!shadow.is_empty(), "the password was not set");
    fs::write(keys.join("one"), "ssh-ed25519 AAAAtwo test\n")?;
    until("the changed key", || Ok(authorized()?.contains("AAAAtwo")))?;
    ensure!(!authorized()?.contains("AAAAone"), "the old key is there still");
    Ok(())
}

fn readiness(ctx: &Ctx) -> Outcome {
    tap("tap0", "10.77.0.1/24")?;
    let mut manifest = manifest(ctx, "address=10.77.0.2/24");
    // Probes that come by the network need one that KubeVirt could come by: the pod's.
    manifest
        .set("/spec/domain/devices/interfaces", json!([{ "name": "lan", "macAddress": MAC, "bridge": {} }]));
    manifest.set("/spec/networks", json!([{ "name": "lan", "pod": {} }]));
    manifest.set(
        "/spec/readinessProbe",
        json!({ "httpGet": { "port": 8080, "path": "/ready" }, "periodSeconds": 1, "timeoutSeconds": 5 }),
    );
    let vm = Vm::start_with_agent(ctx, &manifest, &["--tap", "lan=tap0"])?;
    let machine = connected(&vm)?;
    ensure!(condition(&machine, "Ready") == "False", "it is ready before anybody asked: {machine}");
    script(vm.runtime(), "mkdir -p /www; echo yes > /www/ready; httpd -p 8080 -h /www")?;
    let is_ready = |wanted: &'static str| move |machine: &Value| condition(machine, "Ready") == wanted;
    machine::wait_for(vm.runtime(), SOON, "the guest to be ready", is_ready("True"))?;
    script(vm.runtime(), "rm /www/ready")?;
    let machine = machine::wait_for(vm.runtime(), SOON, "the guest not to be ready", is_ready("False"))?;
    ensure!(machine.to_string().contains("statuscode: 404"), "it is not said why: {}", machine["status"]);
    Ok(())
}

/// A guest whose agent is asked how it is; the first time so many seconds after its start.
fn asked_after(ctx: &Ctx, delay: u32) -> Result<Vm, Failure> {
    let mut manifest = manifest(ctx, "").grace(5);
    manifest.set(
        "/spec/livenessProbe",
        json!({
            "exec": { "command": ["sh", "-c", "test ! -e /tmp/sick || { echo not well; false; }"] },
            "initialDelaySeconds": delay, "periodSeconds": 1, "timeoutSeconds": 20, "failureThreshold": 2,
        }),
    );
    let vm = Vm::start_with_agent(ctx, &manifest, &[])?;
    connected(&vm)?;
    Ok(vm)
}

fn liveness(ctx: &Ctx) -> Outcome {
    // A host may be so slow that the agent is not there when it is asked, which is not well, either.
    let mut vm = asked_after(ctx, 45).or_else(|_| asked_after(ctx, 240))?;
    thread::sleep(Duration::from_secs(2));
    script(vm.runtime(), "touch /tmp/sick")?;
    let ended = vm.wait_exit(BOOT * 2)?;
    ended.expect(5, "unhealthy")?;
    ensure!(ended.errors.contains("not well"), "it is not said why: {}", ended.errors);
    Ok(())
}

/// A program in the guest that says more than anybody wants to hear.
fn flood(ctx: &Ctx) -> Outcome {
    let mut vm = Vm::start_with_agent(ctx, &manifest(ctx, "late=1000"), &[])?;
    vm.console().wait_for(READY, BOOT)?;
    thread::sleep(Duration::from_secs(2));
    let before = vm.footprint()?;
    vm.type_in("cat /dev/zero > /dev/virtio-ports/org.qemu.guest_agent.0 &\n")?;
    thread::sleep(Duration::from_secs(10));
    let after = vm.footprint()?;
    ctx.note(&format!("{before:?}, in a flood {after:?}"));
    ensure!(
        after.beside_guest_kib < before.beside_guest_kib + 1024,
        "memory went from {before:?} to {after:?}"
    );
    let said = machine::ask(vm.runtime(), "GET", &machine::subresource_path("guestosinfo"), "")?;
    ensure!(said.status == 409, "{said:?}");
    vm.type_in(
        "kill %1; qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -f /run/a &\n",
    )?;
    connected(&vm)?;
    vm.type_in("poweroff -f\n")?;
    vm.wait_exit(END)?.expect(0, "guest-shutdown").map(drop)
}
