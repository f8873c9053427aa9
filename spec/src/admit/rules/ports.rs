//! Ports forwarded to the guest.

use std::collections::BTreeSet;

use super::super::{Findings, Reason};
use crate::api::{
    Interface, InterfaceBinding, Network, NetworkSource, Port, PortRange, VirtualMachineInstanceSpec,
};
use crate::formats;

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, interface) in spec.domain.devices.interfaces.iter().enumerate() {
        let is_pod = |network: &&Network| {
            network.name == interface.name && matches!(network.source, NetworkSource::Pod(_))
        };
        if spec.networks.iter().any(|network| is_pod(&network)) {
            let path = format!("spec.domain.devices.interfaces[{index}]");
            ports_or_ranges_are_given(interface, &path, findings);
            port_names_are_unique(interface, &path, findings);
            for (number, port) in interface.ports.iter().enumerate() {
                port_is_a_port(port, &format!("{path}.ports[{number}]"), findings);
            }
            ranges_need_masquerade(interface, &path, findings);
            for (number, range) in interface.port_ranges.iter().enumerate() {
                range_is_a_range(range, &format!("{path}.portRanges[{number}]"), findings);
            }
            ranges_are_few(interface, &path, findings);
            ranges_do_not_overlap(interface, &path, findings);
        }
    }
}

fn ports_or_ranges_are_given(interface: &Interface, path: &str, findings: &mut Findings<'_>) {
    if !interface.ports.is_empty() && !interface.port_ranges.is_empty() {
        let message = "ports and portRanges exclude each other: keep one";
        findings.put_as(Reason::Invalid, format!("{path}.name"), format!("{path}.portRanges"), message);
    }
}

fn port_names_are_unique(interface: &Interface, path: &str, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (number, port) in interface.ports.iter().enumerate().filter(|(_, port)| !port.name.is_empty()) {
        let path = format!("{path}.ports[{number}].name");
        if !seen.insert(&port.name) {
            let message = format!("there is another port named {:?}: names must differ", port.name);
            findings.put(Reason::Duplicate, path.clone(), message);
        }
        if let Some(fault) = formats::port_name(&port.name) {
            findings.invalid(path, fault);
        }
    }
}

fn protocol_fault(protocol: &str) -> Option<String> {
    (!matches!(protocol, "" | "TCP" | "UDP"))
        .then(|| format!("{protocol:?} is not a protocol: use TCP or UDP"))
}

fn port_is_a_port(port: &Port, path: &str, findings: &mut Findings<'_>) {
    let number = format!("{path}.port");
    if port.port == 0 {
        findings.put_as(Reason::Required, path, number, "give a port from 1 to 65535");
    } else if !(1..=65535).contains(&port.port) {
        let message = format!("{} is not a port: those are 1 to 65535", port.port);
        findings.put_as(Reason::Invalid, path, number, message);
    }
    if let Some(fault) = protocol_fault(&port.protocol) {
        findings.invalid(format!("{path}.protocol"), fault);
    }
}

fn ranges_need_masquerade(interface: &Interface, path: &str, findings: &mut Findings<'_>) {
    if !interface.port_ranges.is_empty() && !matches!(interface.binding, InterfaceBinding::Masquerade(_)) {
        let message = "portRanges work with masquerade only";
        findings.put_as(Reason::Invalid, format!("{path}.name"), format!("{path}.portRanges"), message);
    }
}

fn range_is_a_range(range: &PortRange, path: &str, findings: &mut Findings<'_>) {
    if let Some(fault) = protocol_fault(&range.protocol) {
        findings.invalid(format!("{path}.protocol"), fault);
    }
    for (value, key) in [(range.start, "start"), (range.end, "end")] {
        if !(1..=65535).contains(&value) {
            findings.invalid(format!("{path}.{key}"), format!("{value} is not a port: those are 1 to 65535"));
        }
    }
    if range.start > range.end {
        let (start, end) = (range.start, range.end);
        findings
            .invalid(format!("{path}.start"), format!("the range begins at {start}, behind its end {end}"));
        findings.invalid(format!("{path}.end"), format!("the range ends at {end}, before its start {start}"));
    }
}

fn ranges_are_few(interface: &Interface, path: &str, findings: &mut Findings<'_>) {
    const MOST: usize = 10;
    let count = interface.port_ranges.len();
    if count > MOST {
        findings.cannot(format!("{path}.portRanges"), format!("has {count} items, more than {MOST}"));
    }
}

/// Each range is compared with those before it; there are few.
fn ranges_do_not_overlap(interface: &Interface, path: &str, findings: &mut Findings<'_>) {
    let protocol = |range: &PortRange| if range.protocol == "UDP" { "UDP" } else { "TCP" };
    let overlap = |one: &PortRange, other: &PortRange| {
        protocol(one) == protocol(other) && one.start <= other.end && other.start <= one.end
    };
    let ranges = interface.port_ranges.iter().enumerate().take(256);
    let mut overlaps = false;
    for (number, range) in ranges {
        let before = interface.port_ranges.iter().take(number);
        if let Some(other) = before.into_iter().position(|other| overlap(range, other)) {
            let message = format!("overlaps portRanges[{other}]: the ranges of a protocol must be apart");
            findings.invalid(format!("{path}.portRanges[{number}]"), message);
            overlaps = true;
        }
    }
    if overlaps {
        findings.invalid(format!("{path}.portRanges"), "ranges of the same protocol overlap: merge them");
    }
}
