//! Host name, subdomain, DNS, service account.

use super::super::{Findings, Reason};
use crate::api::VirtualMachineInstanceSpec;
use crate::formats;

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    hostname_is_a_label(spec, findings);
    subdomain_is_a_subdomain(spec, findings);
    service_account_is_a_name(spec, findings);
    dns_policy_is_known(spec, findings);
    dns_none_has_nameservers(spec, findings);
    dns_config_is_within_limits(spec, findings);
}

fn hostname_is_a_label(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if let Some(fault) = spec.hostname.as_deref().and_then(formats::label) {
        findings.invalid("spec.hostname", fault);
    }
}

fn subdomain_is_a_subdomain(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if let Some(fault) = spec.subdomain.as_deref().and_then(formats::subdomain) {
        findings.invalid("spec.subdomain", fault);
    }
}

fn service_account_is_a_name(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let name = &spec.service_account_name;
    if let Some(fault) = formats::subdomain(name).filter(|_| !name.is_empty()) {
        findings.invalid("spec.serviceAccountName", fault);
    }
}

fn dns_policy_is_known(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let known = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    if let Some(policy) = spec.dns_policy.as_deref().filter(|policy| !known.contains(policy)) {
        let message = format!("{policy:?} is not a DNS policy: use one of {}", known.join(", "));
        findings.put(Reason::NotSupported, "spec.dnsPolicy", message);
    }
}

/// The policy None needs name servers of its own.
fn dns_none_has_nameservers(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if spec.dns_policy.as_deref() != Some("None") {
        return;
    }
    match &spec.dns_config {
        None => findings.required("spec.dnsConfig", "dnsPolicy None needs name servers: give dnsConfig"),
        Some(config) if config.nameservers.is_empty() => {
            let message = "dnsPolicy None needs at least one name server";
            findings.put_as(Reason::Required, "nameservers", "spec.dnsConfig.nameservers", message);
        }
        Some(_) => {}
    }
}

fn dns_config_is_within_limits(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let Some(config) = &spec.dns_config else { return };
    let mut fault = |field: &str, path: String, message: &str| {
        findings.put_as(Reason::Invalid, field, path, message);
    };
    if config.nameservers.len() > 3 {
        fault("nameservers", "spec.dnsConfig.nameservers".into(), "must be at most 3");
    }
    for (index, server) in config.nameservers.iter().enumerate() {
        if server.parse::<std::net::IpAddr>().is_err() {
            fault("nameservers", format!("spec.dnsConfig.nameservers[{index}]"), "must be an IP address");
        }
    }
    if config.searches.len() > 6 {
        fault("searchDomains", "spec.dnsConfig.searches".into(), "must be at most 6");
    }
    if config.searches.join(" ").len() > 256 {
        let message = "must be at most 256 characters together, spaces between them included";
        fault("searchDomains", "spec.dnsConfig.searches".into(), message);
    }
    for (index, search) in config.searches.iter().enumerate() {
        if let Some(message) = formats::subdomain(search) {
            fault("searchDomains", format!("spec.dnsConfig.searches[{index}]"), message);
        }
    }
    for (index, option) in config.options.iter().enumerate() {
        if option.name.is_none() {
            fault("options", format!("spec.dnsConfig.options[{index}].name"), "must not be empty");
        }
    }
}
