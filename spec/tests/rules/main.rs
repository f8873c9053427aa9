//! One row a rule: a change to a sound machine, and the causes that it must give. Fields are as a KubeVirt cluster names
//! them, which is now and then not where the value stands.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod kinds;
mod network;
mod others;
mod sizes;
mod storage;

use serde_json::{Value, json};
use spec::{Manifests, admit};

/// A machine that nothing is wrong with.
fn machine() -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "sound"},
        "spec": {
            "domain": {
                "memory": {"guest": "1Gi"},
                "firmware": {"kernelBoot": {"container": {"image": "oci:k", "kernelPath": "/k"}}},
                "devices": {
                    "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                    "interfaces": [{"name": "default", "masquerade": {}}],
                },
            },
            "networks": [{"name": "default", "pod": {}}],
            "volumes": [{"name": "root", "containerDisk": {"image": "oci:d"}}],
        },
    })
}

/// Sets the value at a path such as `domain.devices.disks.0.cache` within `spec`; a leading `/` starts at the top.
fn set(object: &mut Value, path: &str, value: Value) {
    let path = path.strip_prefix('/').map_or_else(|| format!("spec.{path}"), str::to_owned);
    let mut at = object;
    for step in path.split('.') {
        at = match step.parse::<usize>() {
            Ok(index) => {
                let list = at.as_array_mut().unwrap();
                if list.len() <= index {
                    list.resize(index + 1, json!({}));
                }
                &mut list[index]
            }
            Err(_) => &mut at[step.replace('~', ".")],
        };
    }
    *at = value;
}

fn causes(changes: &[(&str, Value)]) -> Vec<String> {
    let mut object = machine();
    for (path, value) in changes {
        set(&mut object, path, value.clone());
    }
    let manifests = Manifests::parse("machine.json", &object.to_string()).unwrap();
    let verdict = admit(&manifests.documents[0], &manifests);
    let short = |cause: &spec::Cause| {
        let reason = cause.reason.as_str().trim_start_matches("FieldValue");
        format!("{reason} {}", cause.field.strip_prefix("spec.domain.").unwrap_or(&cause.field))
    };
    let mut causes: Vec<_> = verdict.causes.iter().map(short).collect();
    causes.sort();
    causes.dedup();
    causes
}

/// Changes to the sound machine.
type Changes<'a> = Vec<(&'a str, Value)>;

/// Checks rows of changes with the causes that they must give, in the order of the alphabet.
#[track_caller]
fn rows(rows: Vec<(Changes<'_>, &[&str])>) {
    let wrong: Vec<_> = rows
        .iter()
        .map(|(changes, want)| (changes, want, causes(changes)))
        .filter(|(_, want, got)| *got != **want)
        .map(|(changes, want, got)| format!("{changes:?}\n  wanted {want:?}\n  got    {got:?}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const DISK: &str = "domain.devices.disks.0";
const CARD: &str = "domain.devices.interfaces.0";

fn disk(key: &str) -> String {
    format!("{DISK}.{key}")
}

fn card(key: &str) -> String {
    format!("{CARD}.{key}")
}

#[test]
fn a_sound_machine_is_sound() {
    assert_eq!(causes(&[]), [] as [&str; 0]);
}
