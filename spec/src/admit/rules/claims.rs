//! Dynamic resource allocation: claims, and the devices and networks that refer to them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Findings, Reason};
use crate::api::{InterfaceBinding, NetworkSource, VirtualMachineInstanceSpec};

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    claim_names_are_unique(spec, findings);
    devices_name_their_claims(spec, findings);
    networks_name_their_claims(spec, findings);
    claimed_networks_are_alone(spec, findings);
    claimed_networks_are_passed_through(spec, findings);
}

fn claim_names_are_unique(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, claim) in spec.resource_claims.iter().enumerate() {
        if !seen.insert(&claim.name) {
            let message = format!("there is another claim named {:?}: names must differ", claim.name);
            findings.put(Reason::Duplicate, format!("spec.resourceClaims[{index}].name"), message);
        }
    }
}

/// A device that is given by a claim or a name.
struct Device<'a> {
    name: &'a str,
    claim: Option<&'a str>,
    request: Option<&'a str>,
}

impl Device<'_> {
    fn is_claimed(&self) -> bool {
        self.name.is_empty() && (self.claim.is_some() || self.request.is_some())
    }
}

fn devices_name_their_claims(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let devices = &spec.domain.devices;
    let gpus: Vec<_> = devices
        .gpus
        .iter()
        .map(|gpu| Device {
            name: &gpu.device_name,
            claim: gpu.claim_name.as_deref(),
            request: gpu.request_name.as_deref(),
        })
        .collect();
    let hosts: Vec<_> = devices
        .host_devices
        .iter()
        .map(|device| Device {
            name: &device.device_name,
            claim: device.claim_name.as_deref(),
            request: device.request_name.as_deref(),
        })
        .collect();
    let is_mixed = gpus.iter().any(Device::is_claimed) && !gpus.iter().all(Device::is_claimed);
    if is_mixed {
        let message = "claimed and named graphics processors exclude each other";
        findings.invalid("spec.domain.devices.gpus", message);
    } else {
        device_is_claimed_or_named(&gpus, "spec.domain.devices.gpus", findings);
    }
    device_is_claimed_or_named(&hosts, "spec.domain.devices.hostDevices", findings);
    let is_listed = |name: &str| spec.resource_claims.iter().any(|claim| claim.name == name);
    let claimed = gpus.iter().chain(&hosts).filter(|device| device.is_claimed() && device.request.is_some());
    if claimed.filter_map(|device| device.claim).any(|name| !is_listed(name)) && !is_mixed {
        findings.invalid("spec.resourceClaims", "must list every claim that a device refers to");
    }
}

fn device_is_claimed_or_named(devices: &[Device<'_>], path: &str, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, device) in devices.iter().enumerate() {
        let has_claim = device.claim.is_some() || device.request.is_some();
        match (device.name.is_empty(), has_claim) {
            (true, false) => {
                findings.cannot(path, "each device needs deviceName, or claimName and requestName");
            }
            (false, true) => findings.invalid(path, "deviceName and claimName exclude each other: keep one"),
            (false, false) => {}
            (true, true) => {
                for (given, key) in [(device.claim, "claimName"), (device.request, "requestName")] {
                    if given.is_none() {
                        findings.required(format!("{path}[{index}].{key}"), "is missing");
                    }
                }
                let is_whole = device.claim.is_some() && device.request.is_some();
                if is_whole && !seen.insert((device.claim, device.request)) {
                    let message = "another device has the same claimName and requestName";
                    findings.put(Reason::Duplicate, format!("{path}[{index}]"), message);
                }
            }
        }
    }
}

fn networks_name_their_claims(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeMap::new();
    for (index, network) in spec.networks.iter().enumerate() {
        let NetworkSource::ResourceClaim(claim) = &network.source else { continue };
        let path = format!("spec.networks[{index}]");
        for (given, key) in [(&claim.claim_name, "claimName"), (&claim.request_name, "requestName")] {
            if given.is_none() {
                findings.required(format!("{path}.resourceClaim.{key}"), "is missing");
            }
        }
        let (Some(name), Some(request)) = (&claim.claim_name, &claim.request_name) else { continue };
        if !spec.resource_claims.iter().any(|claim| claim.name == *name) {
            let message = format!("there is no claim named {name:?}: add it to spec.resourceClaims");
            findings.put(Reason::NotFound, format!("{path}.resourceClaim.claimName"), message);
        }
        if seen.insert((name, request), index).is_some() {
            let message = "another network has the same claimName and requestName";
            findings.put(Reason::Duplicate, path, message);
        }
    }
}

fn has_claim(source: &NetworkSource) -> bool {
    match source {
        NetworkSource::ResourceClaim(_) => true,
        NetworkSource::Several(all) => all.iter().any(has_claim),
        _ => false,
    }
}

fn has_multus(source: &NetworkSource) -> bool {
    match source {
        NetworkSource::Multus(_) => true,
        NetworkSource::Several(all) => all.iter().any(has_multus),
        _ => false,
    }
}

fn claimed_networks_are_alone(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let any =
        |is_kind: fn(&NetworkSource) -> bool| spec.networks.iter().any(|network| is_kind(&network.source));
    if any(has_claim) && any(has_multus) {
        findings.invalid("spec.networks", "claimed networks and multus exclude each other");
    }
}

/// A claimed device is a virtual function, or what a plugin makes of it.
fn claimed_networks_are_passed_through(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let interfaces = &spec.domain.devices.interfaces;
    for network in spec.networks.iter().filter(|network| has_claim(&network.source)) {
        let Some(index) = interfaces.iter().position(|interface| interface.name == network.name) else {
            continue;
        };
        let binding = interfaces.get(index).map(|interface| &interface.binding);
        if !matches!(binding, Some(InterfaceBinding::Sriov(_) | InterfaceBinding::Plugin(_))) {
            let path = format!("spec.domain.devices.interfaces[{index}]");
            let message = "a claimed network needs the binding sriov";
            findings.put_as(Reason::Invalid, "spec.domain.devices.interfaces", path, message);
        }
    }
}
