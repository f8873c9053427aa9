//! Network cards and networks.

use std::collections::BTreeSet;

use super::super::{Findings, Reason};
use crate::api::{InterfaceBinding, NetworkSource, VirtualMachineInstanceSpec};

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    interface_names_are_unique(spec, findings);
    network_names_are_unique(spec, findings);
    interface_has_network(spec, findings);
    network_has_interface(spec, findings);
    interface_has_one_binding(spec, findings);
    network_has_one_source(spec, findings);
}

fn interface_names_are_unique(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, interface) in spec.domain.devices.interfaces.iter().enumerate() {
        if !seen.insert(&interface.name) {
            let path = format!("spec.domain.devices.interfaces[{index}].name");
            let message = format!("there is another interface named {:?}: names must differ", interface.name);
            findings.put(Reason::Duplicate, path, message);
        }
    }
}

fn network_names_are_unique(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, network) in spec.networks.iter().enumerate() {
        if !seen.insert(&network.name) {
            let message = format!("there is another network named {:?}: names must differ", network.name);
            findings.put(Reason::Duplicate, format!("spec.networks[{index}].name"), message);
        }
    }
}

fn interface_has_network(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, interface) in spec.domain.devices.interfaces.iter().enumerate() {
        if !spec.networks.iter().any(|network| network.name == interface.name) {
            let message = format!("there is no network named {:?}: add it to spec.networks", interface.name);
            findings.invalid(format!("spec.domain.devices.interfaces[{index}].name"), message);
        }
    }
}

fn network_has_interface(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, network) in spec.networks.iter().enumerate() {
        if !spec.domain.devices.interfaces.iter().any(|interface| interface.name == network.name) {
            let message = format!(
                "no interface is named {:?}: add one to domain.devices.interfaces, or remove the network",
                network.name
            );
            findings.required(format!("spec.networks[{index}].name"), message);
        }
    }
}

fn interface_has_one_binding(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, interface) in spec.domain.devices.interfaces.iter().enumerate() {
        let message = match &interface.binding {
            InterfaceBinding::Missing => {
                "the interface has no binding: give one, e.g. `masquerade: {}`".to_owned()
            }
            InterfaceBinding::Several(all) => {
                let names: Vec<_> = all.iter().filter_map(InterfaceBinding::key).collect();
                format!("the interface has several bindings ({}): keep one", names.join(", "))
            }
            _ => continue,
        };
        findings.invalid(format!("spec.domain.devices.interfaces[{index}]"), message);
    }
}

fn network_has_one_source(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, network) in spec.networks.iter().enumerate() {
        let message = match &network.source {
            NetworkSource::Missing => "the network has no source: give `pod: {}` or multus",
            NetworkSource::Several(_) => "the network has several sources: keep one",
            _ => continue,
        };
        findings.required(format!("spec.networks[{index}]"), message);
    }
}
