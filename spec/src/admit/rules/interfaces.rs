//! Network cards.

use std::collections::BTreeSet;

use super::super::{Findings, Reason};
use super::similar;
use crate::api::{
    Interface, InterfaceBinding, InterfaceState, Network, NetworkSource, VirtualMachineInstanceSpec,
};
use crate::formats;

/// The address of KubeVirt's bridge inside the pod.
const RESERVED_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0];
/// The models of the API.
const MODELS: &[&str] = &["e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "virtio"];

/// The path of a card.
fn at(index: usize, key: &str) -> String {
    format!("spec.domain.devices.interfaces[{index}].{key}")
}

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    interface_names_are_unique(spec, findings);
    for (index, interface) in spec.domain.devices.interfaces.iter().enumerate() {
        let network = spec.networks.iter().find(|network| network.name == interface.name);
        if network.is_none() && findings.has_read("spec.networks") {
            interface_has_network(index, interface, spec, findings);
        }
        name_has_plain_letters(index, interface, findings);
        interface_has_one_binding(index, interface, findings);
        binding_fits_network(index, interface, network, findings);
        model_is_known(index, interface, findings);
        mac_is_a_mac(index, interface, findings);
        pci_address_is_one(index, interface, findings);
        acpi_index_is_in_range(index, interface, findings);
        dhcp_options_are_in_range(index, interface, findings);
        ntp_servers_are_addresses(index, interface, findings);
        state_is_known(index, interface, findings);
        state_fits_binding(index, interface, network, findings);
    }
    acpi_indices_are_unique(spec, findings);
}

fn interface_names_are_unique(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, interface) in spec.domain.devices.interfaces.iter().enumerate() {
        if !seen.insert(&interface.name) {
            let message =
                format!("there is another interface named {:?}: give this one another name", interface.name);
            findings.put(Reason::Duplicate, at(index, "name"), message);
        }
    }
}

fn interface_has_network(
    index: usize,
    interface: &Interface,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    let hint = similar(&interface.name, spec.networks.iter().map(|network| network.name.as_str()));
    let message = format!("there is no network named {:?}{hint}: add it to spec.networks", interface.name);
    findings.invalid(at(index, "name"), message);
}

fn name_has_plain_letters(index: usize, interface: &Interface, findings: &mut Findings<'_>) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if interface.name.is_empty() || !interface.name.bytes().all(is_plain) {
        findings.invalid(at(index, "name"), "must be made of letters, digits, dashes and underscores");
    }
}

fn interface_has_one_binding(index: usize, interface: &Interface, findings: &mut Findings<'_>) {
    let message = match &interface.binding {
        InterfaceBinding::Missing => {
            "the interface has no binding: give one, e.g. `masquerade: {}`".to_owned()
        }
        InterfaceBinding::Several(all) => {
            let names: Vec<_> = all.iter().filter_map(InterfaceBinding::key).collect();
            format!("the interface has several bindings ({}): keep one", names.join(", "))
        }
        _ => return,
    };
    findings.invalid(format!("spec.domain.devices.interfaces[{index}]"), message);
}

/// Masquerade and passt stand in for the pod, so they work on its network only.
fn binding_fits_network(
    index: usize,
    interface: &Interface,
    network: Option<&Network>,
    findings: &mut Findings<'_>,
) {
    let is_pod = network.is_some_and(|network| matches!(network.source, NetworkSource::Pod(_)));
    let name = match &interface.binding {
        InterfaceBinding::Masquerade(_) => "masquerade",
        InterfaceBinding::PasstBinding(_) | InterfaceBinding::Passt(_) => "passt",
        InterfaceBinding::Slirp(_) => "slirp",
        _ => return,
    };
    if !is_pod && network.is_some() {
        let message =
            format!("{name} works on the pod network only: use bridge, or a network with `pod: {{}}`");
        findings.invalid(at(index, "name"), message);
    }
}

fn model_is_known(index: usize, interface: &Interface, findings: &mut Findings<'_>) {
    if let Some(model) = interface.model.as_deref().filter(|model| !MODELS.contains(model)) {
        let message = format!("{model:?} is not a model of network cards: use virtio");
        findings.put(Reason::NotSupported, at(index, "model"), message);
    }
}

fn mac_is_a_mac(index: usize, interface: &Interface, findings: &mut Findings<'_>) {
    let Some(text) = &interface.mac_address else { return };
    let shown = crate::text::shorten(text, 60);
    match formats::mac(text) {
        None => {
            let message =
                format!("{shown:?} is not a MAC address: write six bytes such as 02:12:34:56:78:9a");
            findings.invalid(at(index, "macAddress"), message);
        }
        Some(RESERVED_MAC) if matches!(interface.binding, InterfaceBinding::Masquerade(_)) => {
            let message = format!("{shown} is the address of the other end of masquerade: choose another");
            findings.invalid(at(index, "macAddress"), message);
        }
        Some([first, ..]) if first & 1 == 1 => {
            let message = format!("{shown} is a group address: a card needs one with an even first byte");
            findings.cannot(at(index, "macAddress"), message);
        }
        Some(_) => {}
    }
}

fn pci_address_is_one(index: usize, interface: &Interface, findings: &mut Findings<'_>) {
    let address = &interface.pci_address;
    if let Some(fault) = formats::pci_address(address).filter(|_| !address.is_empty()) {
        findings.invalid(at(index, "pciAddress"), fault);
    }
}

/// ACPI indices end where QEMU's PCI slots do.
fn acpi_index_is_in_range(index: usize, interface: &Interface, findings: &mut Findings<'_>) {
    if interface.acpi_index != 0 && !(1..=16383).contains(&interface.acpi_index) {
        findings.cannot(at(index, "acpiIndex"), "must be from 1 to 16383");
    }
}

fn acpi_indices_are_unique(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, interface) in spec.domain.devices.interfaces.iter().enumerate() {
        if interface.acpi_index != 0 && !seen.insert(interface.acpi_index) {
            findings.put(Reason::Duplicate, at(index, "acpiIndex"), "is taken by another interface");
        }
    }
}

/// Private options are numbered 224 to 254 (RFC 3942), each given once.
fn dhcp_options_are_in_range(index: usize, interface: &Interface, findings: &mut Findings<'_>) {
    let Some(options) = &interface.dhcp_options else { return };
    let mut seen = BTreeSet::new();
    for (number, option) in options.private_options.iter().enumerate() {
        let path = at(index, &format!("dhcpOptions.privateOptions[{number}].option"));
        if !(224..=254).contains(&option.option) {
            let message = format!("{} is not a private option: those are 224 to 254", option.option);
            findings.put_as(Reason::Invalid, "spec", path.clone(), message);
        }
        if !seen.insert(option.option) {
            let message = format!("option {} is given twice", option.option);
            findings.put_as(Reason::Invalid, "spec", path, message);
        }
    }
}

fn ntp_servers_are_addresses(index: usize, interface: &Interface, findings: &mut Findings<'_>) {
    let Some(options) = &interface.dhcp_options else { return };
    for (number, server) in options.ntp_servers.iter().enumerate() {
        if server.parse::<std::net::Ipv4Addr>().is_err() {
            let message = format!("{server:?} is not an IPv4 address");
            findings.invalid(at(index, &format!("dhcpOptions.ntpServers[{number}]")), message);
        }
    }
}

fn state_is_known(index: usize, interface: &Interface, findings: &mut Findings<'_>) {
    if let Some(InterfaceState::Other(word)) = &interface.state {
        let message = format!("{word:?} is not a state: use up, down or absent");
        findings.invalid(at(index, "state"), message);
    }
}

fn state_fits_binding(
    index: usize,
    interface: &Interface,
    network: Option<&Network>,
    findings: &mut Findings<'_>,
) {
    let is_absent = interface.state == Some(InterfaceState::Absent);
    let has_link = matches!(interface.state, Some(InterfaceState::Up | InterfaceState::Down));
    if is_absent && !matches!(interface.binding, InterfaceBinding::Bridge(_)) {
        findings.invalid(at(index, "state"), "absent works with bridge only");
    }
    if has_link && matches!(interface.binding, InterfaceBinding::Sriov(_)) {
        findings.invalid(at(index, "state"), "the link of an SR-IOV card cannot be set");
    }
    let is_default = network.is_some_and(|network| match &network.source {
        NetworkSource::Pod(_) => true,
        NetworkSource::Multus(multus) => multus.default,
        _ => false,
    });
    if is_absent && is_default {
        findings.invalid(at(index, "state"), "the card of the default network cannot be absent");
    }
}
