//! Commands that change a machine's memory and devices while it runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::duration;
use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::print;
use crate::client::{ClientError, Machine};

use super::names;

/// How long a guest is waited for if nothing else is said. Linux lets a device go after six seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has done what it was asked.
const LOOK: Duration = Duration::from_millis(100);

/// Runs the command if it is one of these.
pub(super) fn main(name: &str, args: &Args) -> Option<Result<u8, Failure>> {
    Some(match name {
        "disk" => disk(args),
        "nic" => nic(args),
        "addvolume" => named_volume(args).and_then(|(machine, volume)| add_disk(args, &machine, volume)),
        "removevolume" => {
            named_volume(args).and_then(|(machine, volume)| remove_disk(args, &machine, volume))
        }
        "set-memory" => set_memory(args),
        "dump" => dump(args),
        _ => return None,
    })
}

/// `disk add|remove|resize MACHINE VOLUME`.
fn disk(args: &Args) -> Result<u8, Failure> {
    match args.words()?.as_slice() {
        ["add", machine, volume] => add_disk(args, &names::find(args, machine)?, (*volume).to_owned()),
        ["remove", machine, volume] => remove_disk(args, &names::find(args, machine)?, (*volume).to_owned()),
        ["resize", machine, volume] => {
            let machine = names::find(args, machine)?;
            put(&machine, "resizevolume", &json!({"name": volume}))?;
            told(&format!("the guest of {machine} is told how large {volume} is"))
        }
        _ => Err(Failure::Usage("say what to do: kubevmm disk add|remove|resize NAME VOLUME".into())),
    }
}

/// `nic add|remove MACHINE NETWORK`, `nic link MACHINE NETWORK up|down`.
fn nic(args: &Args) -> Result<u8, Failure> {
    match args.words()?.as_slice() {
        ["add", machine, name] => add_card(args, &names::find(args, machine)?, name),
        ["remove", machine, name] => remove_card(args, &names::find(args, machine)?, name),
        ["link", machine, name, state @ ("up" | "down")] => {
            let machine = names::find(args, machine)?;
            set_link(&machine, name, state)?;
            told(&format!("the link of {name} of {machine} is {state}"))
        }
        _ => Err(Failure::Usage(
            "say what to do: kubevmm nic add|remove NAME NETWORK, or kubevmm nic link NAME NETWORK up|down"
                .into(),
        )),
    }
}

/// The machine and the volume of virtctl's commands, which give it as an option.
fn named_volume(args: &Args) -> Result<(Machine, String), Failure> {
    let volume = args.text("volume-name")?;
    let volume = volume.ok_or_else(|| Failure::Usage("name the volume: --volume-name VOLUME".into()))?;
    Ok((names::machine(args)?, volume))
}

fn add_disk(args: &Args, machine: &Machine, volume: String) -> Result<u8, Failure> {
    let claim = args.text("claim")?;
    let source = match args.text("data-volume")? {
        Some(_) if claim.is_some() => {
            return Err(Failure::Usage("give --claim or --data-volume, not both".into()));
        }
        Some(name) => json!({"dataVolume": {"name": name, "hotpluggable": true}}),
        None => {
            json!({"persistentVolumeClaim": {"claimName": claim.as_ref().unwrap_or(&volume), "hotpluggable": true}})
        }
    };
    let mut disk = json!({"disk": {"bus": "virtio"}});
    if args.has("read-only") {
        disk["disk"]["readonly"] = json!(true);
    }
    for option in ["serial", "cache"] {
        if let Some(value) = args.text(option)? {
            disk[option] = json!(value);
        }
    }
    put(machine, "addvolume", &json!({"name": volume, "disk": disk, "volumeSource": source}))?;
    let is_ready = |object: &Value| {
        let status = status_of(object, "volumeStatus", &volume);
        status.is_some_and(|status| status["phase"] == "Ready")
    };
    until(args, machine, is_ready)?;
    told(&format!("{volume} is put into a slot of {machine}"))
}

fn remove_disk(args: &Args, machine: &Machine, volume: String) -> Result<u8, Failure> {
    put(machine, "removevolume", &json!({"name": volume}))?;
    until(args, machine, |object| status_of(object, "volumeStatus", &volume).is_none())?;
    told(&format!("the guest of {machine} was asked to let {volume} go"))
}

fn add_card(args: &Args, machine: &Machine, name: &str) -> Result<u8, Failure> {
    let network = args.text("network")?.unwrap_or_else(|| name.to_owned());
    let mut card = json!({"name": name});
    match args.text("binding")?.as_deref() {
        None | Some("bridge") => card["bridge"] = json!({}),
        Some("masquerade") => card["masquerade"] = json!({}),
        Some(plugin) => card["binding"] = json!({"name": plugin}),
    }
    if let Some(mac) = args.text("mac")? {
        card["macAddress"] = json!(mac);
    }
    let source = if network == "pod" {
        json!({"name": name, "pod": {}})
    } else {
        json!({"name": name, "multus": {"networkName": network}})
    };
    let added = |path: &str, value: Value| json!({"op": "add", "path": path, "value": value});
    let object = machine.object()?;
    let mut patch = Vec::new();
    for (path, value) in [(NETWORKS, source), (INTERFACES, card)] {
        if object.pointer(path).is_some_and(Value::is_array) {
            patch.push(added(&format!("{path}/-"), value));
        } else {
            patch.push(added(path, json!([value])));
        }
    }
    machine.patch(&Value::Array(patch).to_string())?;
    let is_ready = |object: &Value| {
        let status = status_of(object, "interfaces", name);
        status.is_some_and(|status| status["infoSource"].as_str().is_some_and(|text| text.contains("domain")))
    };
    until(args, machine, is_ready)?;
    told(&format!("a card on {name} is put into a slot of {machine}"))
}

fn remove_card(args: &Args, machine: &Machine, name: &str) -> Result<u8, Failure> {
    let object = machine.object()?;
    let mut patch = Vec::new();
    for list in [INTERFACES, NETWORKS] {
        let at = place(machine, &object, list, name)?;
        // Others may have changed the list meanwhile.
        patch.push(json!({"op": "test", "path": format!("{list}/{at}/name"), "value": name}));
        patch.push(json!({"op": "remove", "path": format!("{list}/{at}")}));
    }
    machine.patch(&Value::Array(patch).to_string())?;
    until(args, machine, |object| status_of(object, "interfaces", name).is_none())?;
    told(&format!("the guest of {machine} was asked to let its card on {name} go"))
}

const INTERFACES: &str = "/spec/domain/devices/interfaces";
const NETWORKS: &str = "/spec/networks";

/// Where the card or network of this name is in a list of the object.
fn place(machine: &Machine, object: &Value, list: &str, name: &str) -> Result<usize, Failure> {
    let all = object.pointer(list).and_then(Value::as_array);
    let at = all.and_then(|all| all.iter().position(|one| one["name"] == name));
    at.ok_or_else(|| Failure::NotSo(format!("{machine} has no network card {name:?}")))
}

/// Plugs the cable of a card in or pulls it, as KubeVirt has it done: by the state in the machine's object.
fn set_link(machine: &Machine, name: &str, state: &str) -> Result<(), Failure> {
    let path = format!("{INTERFACES}/{}", place(machine, &machine.object()?, INTERFACES, name)?);
    let patch = json!([
        {"op": "test", "path": format!("{path}/name"), "value": name},
        {"op": "add", "path": format!("{path}/state"), "value": state},
    ]);
    machine.patch(&patch.to_string())?;
    Ok(())
}

fn set_memory(args: &Args) -> Result<u8, Failure> {
    let [name, size] = args.words()?.try_into().map_err(|_: Vec<&str>| {
        Failure::Usage(
            "give a machine and how much memory it is to use: kubevmm set-memory NAME 512Mi".into(),
        )
    })?;
    let machine = names::find(args, name)?;
    put(&machine, "setmemory", &json!({"memory": size}))?;
    told(&format!("the guest of {machine} was asked to get by on {size}"))
}

/// How long a dump may take: a slow disk and a large guest.
const DUMP: Duration = Duration::from_secs(6 * 3600);

fn dump(args: &Args) -> Result<u8, Failure> {
    let [name, file] = args.words()?.try_into().map_err(|_: Vec<&str>| {
        Failure::Usage("give a machine and the file that its memory goes to: kubevmm dump NAME FILE".into())
    })?;
    let machine = names::find(args, name)?;
    // The machine's process is somewhere else.
    let file = std::path::absolute(file)
        .map_err(|source| Failure::Host { what: "the file's folder cannot be found", source })?;
    let body = json!({"file": file}).to_string();
    let said = machine.ask_within("PUT", &machine.subresource("dump"), &body, DUMP)?.json()?;
    let mib = |key: &str| said[key].as_u64().unwrap_or_default() >> 20;
    told(&format!(
        "{} has the memory of {machine}: {} MiB, {} MiB of them not zero; it stood still for {} ms{}",
        file.display(),
        mib("memoryBytes"),
        mib("storedBytes"),
        said["pausedMilliseconds"],
        if said["vmcoreinfo"] == true { "" } else { " (the guest's kernel has left no vmcoreinfo)" }
    ))
}

fn put(machine: &Machine, subresource: &str, body: &Value) -> Result<(), Failure> {
    machine.ask("PUT", &machine.subresource(subresource), &body.to_string())?;
    Ok(())
}

fn told(text: &str) -> Result<u8, Failure> {
    print(&format!("{text}\n")).map(|()| 0)
}

/// What the status says of a volume or a card.
fn status_of<'a>(object: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    let all = object.get("status")?.get(list)?.as_array()?;
    all.iter().find(|status| status["name"] == name)
}

/// Waits until the guest has done what it was asked, if it is to be waited for.
fn until(args: &Args, machine: &Machine, is_so: impl Fn(&Value) -> bool) -> Result<(), Failure> {
    if !args.has("wait") && !args.has("timeout") {
        return Ok(());
    }
    let patience = args.text("timeout")?.map(|text| duration::parse(&text));
    let patience = match patience {
        Some(None) => return Err(Failure::Usage("--timeout is a length of time, as in 30s or 1m".into())),
        Some(Some(patience)) => patience,
        None => PATIENCE,
    };
    let deadline = Instant::now() + patience;
    while !is_so(&machine.object()?) {
        if !machine.runs() {
            return Err(ClientError::Ended(machine.to_string()).into());
        }
        if Instant::now() >= deadline {
            let seconds = patience.as_secs();
            return Err(Failure::NotSo(format!(
                "the guest of {machine} was asked, and has not done it in {seconds} s; it may still"
            )));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
