//! What has to be the same on both sides: what the guest sees of its machine.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::plan::{DevicePlan, DiskSource, Function, Plan};

/// Facts by name; each is JSON, so that a difference can be told.
pub type Facts = BTreeMap<String, String>;

/// The two machines are not alike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machine here is not the one that is to come: {0}")]
pub struct Unlike(String);

/// The facts about the machine of `plan`. Where disks and cards are on the host is none of them.
pub fn facts(plan: &Plan) -> Facts {
    let mut facts = Facts::new();
    let mut put = |name: &str, value: Value| {
        facts.insert(name.to_owned(), value.to_string());
    };
    put("namespace", json!(plan.namespace));
    put("name", json!(plan.name));
    put("page size", json!(ram::PAGE));
    put("memory", value(&plan.memory.ram));
    put("cpu", value(&plan.cpu));
    put("pci windows", value(&plan.pci));
    put("smbios", value(&plan.smbios));
    put("slots", value(&plan.ports));
    put("watchdog", value(&plan.watchdog));
    for function in &plan.functions {
        put(&format!("device {}", function.name), device(function));
    }
    facts
}

/// Whether the machine that is to come is the one here.
///
/// # Errors
/// The first difference.
pub fn compare(theirs: &Facts, ours: &Facts) -> Result<(), Unlike> {
    let missing = |name: &str, side: &str| Err(Unlike(format!("{side} has no {name}")));
    for (name, ours) in ours {
        match theirs.get(name) {
            None => return missing(name, "the source"),
            Some(theirs) if theirs != ours => {
                return Err(Unlike(format!("{name} is {ours} here and {theirs} at the source")));
            }
            Some(_) => {}
        }
    }
    match theirs.keys().find(|name| !ours.contains_key(*name)) {
        Some(name) => missing(name, "the machine here"),
        None => Ok(()),
    }
}

fn device(function: &Function) -> Value {
    let kind = match &function.device {
        DevicePlan::Disk(disk) => json!({
            "disk": kind(&disk.source),
            "readOnly": disk.read_only,
            "serial": disk.serial,
            "queues": disk.queues,
            "blocks": value(&disk.blocks),
        }),
        DevicePlan::Nic(nic) => json!({ "mac": nic.mac.to_string(), "queuePairs": nic.queue_pairs }),
        other @ (DevicePlan::Console { .. } | DevicePlan::Rng | DevicePlan::Balloon { .. }) => value(other),
    };
    json!({
        "address": value(&function.address),
        "window": function.window,
        "interrupt": function.first_gsi,
        "device": kind,
    })
}

/// What kind of thing a disk's bytes are, as far as the other side has to have the same.
fn kind(source: &DiskSource) -> &'static str {
    match source {
        DiskSource::Storage(_) => "storage",
        DiskSource::Ephemeral(_) => "ephemeral",
        DiskSource::Empty(_) => "empty",
        DiskSource::ContainerDisk { .. } => "container disk",
        DiskSource::Iso { .. } => "files",
    }
}

/// Plans are plain data, which always has a JSON form.
fn value(part: &impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

/// Why the machine of `plan` cannot be moved, if it cannot: KubeVirt's reason for the condition `LiveMigratable`, and what is in
/// the way.
pub fn obstacle(plan: &Plan) -> Option<(&'static str, String)> {
    let mut disks = Vec::new();
    for function in &plan.functions {
        if let DevicePlan::Nic(nic) = &function.device
            && nic.vhost
        {
            let message = format!(
                "cannot migrate VMI: the kernel serves the card on {} (vhost-net), and does not say what it writes",
                nic.network
            );
            return Some(("InterfaceNotLiveMigratable", message));
        }
        if let DevicePlan::Disk(disk) = &function.device
            && !disk.read_only
        {
            match &disk.source {
                DiskSource::Storage(_) | DiskSource::Iso { .. } => {}
                source => disks.push(format!("{} ({})", function.name, kind(source))),
            }
        }
    }
    if disks.is_empty() {
        return None;
    }
    let message = format!(
        "cannot migrate VMI: what is written to these disks is kept in scratch files of this host: {}",
        disks.join(", ")
    );
    Some(("DisksNotLiveMigratable", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(pairs: &[(&str, &str)]) -> Facts {
        pairs.iter().map(|(name, fact)| ((*name).to_owned(), (*fact).to_owned())).collect()
    }

    #[test]
    fn differences_are_told_by_name() {
        let ours = some(&[("memory", "1"), ("name", "\"x\"")]);
        assert_eq!(compare(&ours, &ours), Ok(()));
        let say = |theirs: &[(&str, &str)]| compare(&some(theirs), &ours).unwrap_err().to_string();
        assert!(say(&[("memory", "2"), ("name", "\"x\"")]).contains("memory is 1 here and 2 at the source"));
        assert!(say(&[("memory", "1")]).contains("the source has no name"));
        let more = [("memory", "1"), ("name", "\"x\""), ("device d", "{}")];
        assert!(say(&more).contains("the machine here has no device d"));
    }
}
