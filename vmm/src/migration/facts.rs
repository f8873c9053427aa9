//! What has to be the same on both sides: what the guest sees of its machine.

use std::collections::BTreeMap;

use arch::cpuid::{GuestCpu, Offer};
use serde::Serialize;
use serde_json::{Value, json};

use crate::plan::{DevicePlan, DiskSource, Function, Plan};

/// The fact that is not compared for sameness: the guest's processor, and what the host can give.
const PROCESSOR: &str = "processor";

/// Facts by name; each is JSON, so that a difference can be told.
pub type Facts = BTreeMap<String, String>;

/// The two machines are not alike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machine here is not the one that is to come: {0}")]
pub struct Unlike(String);

/// The facts about a machine that is to move, in the migration `id`, which both sides have to know by the same ID or by none.
/// `processor` is what its guest has seen.
pub fn leaving(plan: &Plan, id: &str, processor: &GuestCpu) -> Facts {
    with(plan, id, value(processor))
}

/// The facts about a machine that is waited for: `processor` is what this host can give to its guest.
pub fn coming(plan: &Plan, id: &str, processor: &Offer) -> Facts {
    with(plan, id, value(processor))
}

fn with(plan: &Plan, id: &str, processor: Value) -> Facts {
    let mut facts = facts(plan);
    if !id.is_empty() {
        facts.insert("migration ID".into(), json!(id).to_string());
    }
    facts.insert(PROCESSOR.into(), processor.to_string());
    facts
}

/// The facts about the machine of `plan`. Where disks and cards are on the host is none of them.
fn facts(plan: &Plan) -> Facts {
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
    // Those that came later are told of by themselves.
    for function in plan.functions.iter().filter(|function| function.address.bus() == 0) {
        put(&format!("device {}", function.name), device(function));
    }
    facts
}

/// What has to be the same about a device that came while the machine ran.
pub fn fact(function: &Function) -> String {
    device(function).to_string()
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
            Some(theirs) if name == PROCESSOR => fits(theirs, ours)?,
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

/// Whether this host can give to the guest what it has seen of its processor.
fn fits(theirs: &str, ours: &str) -> Result<(), Unlike> {
    let Ok(offer) = serde_json::from_str::<Offer>(ours) else { return Ok(()) };
    let guest: GuestCpu = serde_json::from_str(theirs)
        .map_err(|_| Unlike("what the source tells of the guest's processor makes no sense".into()))?;
    offer.fits(&guest).map_err(|misfit| Unlike(misfit.to_string()))
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

    #[test]
    fn processors_have_to_fit_and_need_not_be_the_same() {
        let host = |features: &[&str]| json!({"vendor": "GenuineIntel", "family": 6, "model": 85, "stepping": 7, "features": features});
        let fact = |text: Value| some(&[(PROCESSOR, &text.to_string())]);
        let guest = fact(json!({"seen": host(&["lm", "avx2"]), "forced": [], "host": null}));
        let chosen = |features: &[&str]| fact(json!({"chosen": host(features)}));
        assert_eq!(compare(&guest, &chosen(&["avx2", "lm", "sse2"])), Ok(()));
        let error = compare(&guest, &chosen(&["lm"])).unwrap_err().to_string();
        assert!(error.contains("has avx2, which this host cannot give"), "{error}");
        let own = fact(json!({"own": host(&[])}));
        assert_eq!(compare(&guest, &own), Ok(()), "guests see the host's own there");
        let error = compare(&fact(json!([1])), &chosen(&[])).unwrap_err().to_string();
        assert!(error.contains("makes no sense"), "{error}");
    }
}
