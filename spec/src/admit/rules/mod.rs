//! KubeVirt's rules and our own, each in a function named after what it checks, grouped as the API is.
//!
//! All run after the defaults, as in a cluster. Where a cluster's answer names another field than the one at fault, the
//! rule gives both.

mod arch;
mod claims;
mod cloud_init;
mod core;
mod cpu;
mod credentials;
mod data_volume;
mod devices;
mod disks;
mod features;
mod firmware;
mod interfaces;
mod launch_security;
mod life;
mod memory;
mod metadata;
mod names;
mod networks;
mod ports;
mod probes;
mod scheduling;
mod sizes;
mod vm;
mod volumes;

pub(super) use core::{claim, config_map, network, secret};
pub(super) use data_volume::data_volume;
pub(super) use sizes::{instancetype, preference};
pub(super) use vm::{selector_matches, vm};

use super::Findings;
use crate::api::{VirtualMachineInstance, VirtualMachineInstanceSpec};

/// A group of rules.
type Check = fn(&VirtualMachineInstanceSpec, &mut Findings<'_>);

/// All groups, in the order of KubeVirt's own checks.
const CHECKS: &[Check] = &[
    names::check,
    memory::check,
    cpu::check,
    firmware::check,
    features::check,
    launch_security::check,
    devices::check,
    disks::check,
    volumes::check,
    cloud_init::check,
    interfaces::check,
    ports::check,
    networks::check,
    claims::check,
    life::check,
    probes::check,
    credentials::check,
    scheduling::check,
    arch::check,
];

/// The API takes at most 256 items in each of the long lists. Longer ones are not looked at any further, for many rules
/// compare each item with each other.
pub(super) fn lists_are_short(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) -> bool {
    const MOST: usize = 256;
    let lists = [
        (spec.domain.devices.disks.len(), "spec.domain.devices.disks"),
        (spec.domain.devices.interfaces.len(), "spec.domain.devices.interfaces"),
        (spec.domain.devices.filesystems.len(), "spec.domain.devices.filesystems"),
        (spec.domain.devices.gpus.len(), "spec.domain.devices.gpus"),
        (spec.domain.devices.host_devices.len(), "spec.domain.devices.hostDevices"),
        (spec.resource_claims.len(), "spec.resourceClaims"),
        (spec.networks.len(), "spec.networks"),
        (spec.volumes.len(), "spec.volumes"),
        (spec.access_credentials.len(), "spec.accessCredentials"),
    ];
    let long: Vec<_> = lists.into_iter().filter(|(length, _)| *length > MOST).collect();
    for (length, path) in &long {
        findings.invalid(*path, format!("has {length} items, more than {MOST}"));
    }
    long.is_empty()
}

/// Looks at what the defaults will hide.
pub(super) fn before_defaults(vmi: &VirtualMachineInstance, findings: &mut Findings<'_>) {
    disks::disk_without_bus_is_virtio(&vmi.spec, findings);
}

/// A remark about a name like one that is missing.
fn similar<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> String {
    let near = crate::api::nearest(name, others);
    near.map(|near| format!(" (there is {near:?})")).unwrap_or_default()
}

/// Checks a machine.
pub(super) fn machine(vmi: &VirtualMachineInstance, findings: &mut Findings<'_>) {
    for check in CHECKS {
        check(&vmi.spec, findings);
    }
    metadata::check(&vmi.metadata, findings);
}
