//! Networks.

use std::collections::BTreeSet;

use super::super::{Findings, Reason};
use crate::api::{Network, NetworkSource, VirtualMachineInstanceSpec};

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    network_names_are_unique(spec, findings);
    network_has_interface(spec, findings);
    network_has_one_source(spec, findings);
    multus_names_a_network(spec, findings);
    default_network_is_one(spec, findings);
}

fn network_names_are_unique(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, network) in spec.networks.iter().enumerate() {
        if !seen.insert(&network.name) {
            let message =
                format!("there is another network named {:?}: give this one another name", network.name);
            findings.put(Reason::Duplicate, format!("spec.networks[{index}].name"), message);
        }
    }
}

fn network_has_interface(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if !findings.has_read("spec.domain.devices.interfaces") {
        return;
    }
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

fn multus_names_a_network(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, network) in spec.networks.iter().enumerate() {
        if let NetworkSource::Multus(multus) = &network.source
            && multus.network_name.is_empty()
        {
            let path = format!("spec.networks[{index}].multus.networkName");
            findings.put_as(Reason::Required, format!("spec.networks[{index}]"), path, "must not be empty");
        }
    }
}

/// There is at most one pod network or default network of Multus, not both.
fn default_network_is_one(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let is_pod = |network: &&Network| matches!(network.source, NetworkSource::Pod(_));
    let is_default =
        |network: &&Network| matches!(&network.source, NetworkSource::Multus(multus) if multus.default);
    let pods = spec.networks.iter().filter(is_pod).count();
    let defaults = spec.networks.iter().filter(is_default).count();
    if pods > 1 {
        let message = "there are several pod networks: keep one, and use multus for the others";
        findings.put_as(Reason::Duplicate, "spec.interfaces", "spec.networks", message);
    }
    if defaults > 1 {
        findings.invalid("spec.networks", "there are several default networks of multus: keep one");
    }
    if pods > 0 && defaults > 0 {
        findings.invalid("spec.networks", "a pod network and a default network of multus exclude each other");
    }
}
