//! Networks.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::{Findings, Reason};
use crate::api::{Network, NetworkSource, VirtualMachineInstanceSpec};
use crate::formats;

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    network_names_are_unique(spec, findings);
    network_has_interface(spec, findings);
    network_has_one_source(spec, findings);
    multus_names_a_network(spec, findings);
    default_network_is_one(spec, findings);
    masquerade_has_room(spec, findings);
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

/// The guest's own network behind masquerade has addresses for the guest and its gateway.
fn masquerade_has_room(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, network) in spec.networks.iter().enumerate() {
        let NetworkSource::Pod(pod) = &network.source else { continue };
        for (key, text, is_v4) in [
            ("vmNetworkCIDR", &pod.vm_network_cidr, true),
            ("vmIPv6NetworkCIDR", &pod.vm_ipv6_network_cidr, false),
        ] {
            let fits = |(address, prefix): (IpAddr, u8)| {
                address.is_ipv4() == is_v4 && prefix + 2 <= formats::address_bits(address)
            };
            if !text.is_empty() && !formats::cidr(text).is_some_and(fits) {
                let example = if is_v4 { "10.0.2.0/24" } else { "fd10:0:2::/120" };
                let shown = crate::text::shorten(text, 60);
                let message =
                    format!("{shown:?} is not a network of four addresses or more, such as {example}");
                findings.cannot(format!("spec.networks[{index}].pod.{key}"), message);
            }
        }
    }
}
