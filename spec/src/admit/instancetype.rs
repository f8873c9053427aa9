//! Instancetypes: they size a machine, which then must not size itself.

use super::object::quietly;
use super::{Findings, defaults, preference};
use crate::api::{
    InstancetypeCpu, InstancetypeSpec, PreferenceSpec, VirtualMachineInstance, VirtualMachineInstanceSpec,
    VirtualMachineInstancetype, VirtualMachinePreference, VirtualMachineSpec,
};
use crate::source::{Document, Manifests};

const CLUSTER_INSTANCETYPE: &str = "VirtualMachineClusterInstancetype";
const CLUSTER_PREFERENCE: &str = "VirtualMachineClusterPreference";

/// Applies the instancetype and the preference that a VirtualMachine names; false where there is nothing to apply.
pub(super) fn apply(
    spec: &VirtualMachineSpec,
    machine: &mut VirtualMachineInstance,
    manifests: &Manifests,
    findings: &mut Findings<'_>,
) -> bool {
    let find = Finder { namespace: &machine.metadata.namespace.clone(), manifests };
    let instancetype: Option<VirtualMachineInstancetype> = spec.instancetype.as_ref().and_then(|matcher| {
        let kind = if matcher.kind.is_empty() { CLUSTER_INSTANCETYPE } else { &matcher.kind };
        let found = find.named(kind, &matcher.name);
        if found.is_none() {
            instancetype_is_missing(kind, &matcher.name, &machine.spec, findings);
        }
        found.map(quietly)
    });
    let preference: Option<VirtualMachinePreference> = spec.preference.as_ref().and_then(|matcher| {
        let kind = if matcher.kind.is_empty() { CLUSTER_PREFERENCE } else { &matcher.kind };
        let found = find.named(kind, &matcher.name);
        if found.is_none() && !matcher.name.is_empty() {
            let message = format!(
                "the {kind} {:?} is not among the given objects: what it fills in is left out",
                matcher.name
            );
            findings.warn("spec.preference", message);
        }
        found.map(quietly)
    });
    if instancetype.is_none() && preference.is_none() {
        return false;
    }
    let preference = preference.map(|preference| preference.spec);
    if let Some(instancetype) = &instancetype {
        size(&instancetype.spec, preference.as_ref(), machine, findings);
    }
    if let Some(preference) = &preference {
        defaults::devices_of_volumes(&mut machine.spec);
        preference::apply(preference, machine);
        let from = if instancetype.is_some() { "spec.instancetype" } else { "spec.template.spec.domain" };
        preference::requirements_are_met(preference, machine, from, findings);
    }
    true
}

/// Looks for instancetypes and preferences among the manifests.
struct Finder<'a> {
    namespace: &'a str,
    manifests: &'a Manifests,
}

impl<'a> Finder<'a> {
    fn named(&self, kind: &str, name: &str) -> Option<&'a Document> {
        if kind.contains("Cluster") {
            self.manifests.find_cluster(kind, name)
        } else {
            self.manifests.find(kind, self.namespace, name)
        }
    }
}

/// A machine with sizes of its own can do without its instancetype, another cannot.
fn instancetype_is_missing(
    kind: &str,
    name: &str,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    if name.is_empty() {
        return;
    }
    let missing = format!("the {kind} {name:?} is not among the given objects");
    let domain = &spec.domain;
    let has_memory = domain.memory.as_ref().is_some_and(|memory| memory.guest.is_some())
        || domain.resources.requests.contains_key("memory")
        || domain.resources.limits.contains_key("memory");
    if has_memory {
        findings.warn("spec.instancetype", format!("{missing}: the machine has the sizes of its template"));
    } else {
        findings.cannot("spec.instancetype", format!("{missing}: add its manifest"));
        findings.lacks("spec.template.spec.domain.memory.guest");
    }
}

/// Takes over the sizes of an instancetype; a size that the machine gives itself is a conflict.
fn size(
    instancetype: &InstancetypeSpec,
    preference: Option<&PreferenceSpec>,
    machine: &mut VirtualMachineInstance,
    findings: &mut Findings<'_>,
) {
    for path in conflicts(instancetype, &machine.spec) {
        let message = "is set by the instancetype: remove it here";
        findings.invalid(format!("spec.template.spec.{path}"), message);
    }
    let domain = &mut machine.spec.domain;
    let cpu = domain.cpu.get_or_insert_default();
    (cpu.sockets, cpu.cores, cpu.threads) =
        preference::topology(instancetype.cpu.guest, preference, findings);
    take_cpu_options(&instancetype.cpu, cpu);
    let memory = domain.memory.get_or_insert_default();
    memory.guest = Some(instancetype.memory.guest.clone());
    memory.hugepages = instancetype.memory.hugepages.clone().or(memory.hugepages.take());
    memory.max_guest = instancetype.memory.max_guest.clone().or(memory.max_guest.take());
    domain.devices.gpus.extend(instancetype.gpus.iter().cloned());
    domain.devices.host_devices.extend(instancetype.host_devices.iter().cloned());
    domain.io_threads_policy = instancetype.io_threads_policy.clone().or(domain.io_threads_policy.take());
    domain.io_threads = instancetype.io_threads.clone().or(domain.io_threads.take());
    domain.launch_security = instancetype.launch_security.clone().or(domain.launch_security.take());
    machine.spec.node_selector.extend(instancetype.node_selector.clone());
    if machine.spec.scheduler_name.is_empty() {
        machine.spec.scheduler_name.clone_from(&instancetype.scheduler_name);
    }
    for (key, value) in &instancetype.annotations {
        machine.metadata.annotations.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn take_cpu_options(instancetype: &InstancetypeCpu, cpu: &mut crate::api::Cpu) {
    cpu.model = instancetype.model.clone().or(cpu.model.take());
    cpu.numa = instancetype.numa.clone().or(cpu.numa.take());
    cpu.realtime = instancetype.realtime.clone().or(cpu.realtime.take());
    cpu.dedicated_cpu_placement |= instancetype.dedicated_cpu_placement == Some(true);
    cpu.isolate_emulator_thread |= instancetype.isolate_emulator_thread == Some(true);
    cpu.max_sockets = instancetype.max_sockets.unwrap_or(cpu.max_sockets);
}

/// The paths within the machine's specification that the instancetype sets too.
fn conflicts(instancetype: &InstancetypeSpec, spec: &VirtualMachineInstanceSpec) -> Vec<&'static str> {
    let domain = &spec.domain;
    let cpu = domain.cpu.as_ref();
    let memory = domain.memory.as_ref();
    let has_cpu = |part: fn(&crate::api::Cpu) -> bool| cpu.is_some_and(part);
    let all = [
        (has_cpu(|cpu| cpu.sockets != 0), "domain.cpu.sockets"),
        (has_cpu(|cpu| cpu.cores != 0), "domain.cpu.cores"),
        (has_cpu(|cpu| cpu.threads != 0), "domain.cpu.threads"),
        (has_cpu(|cpu| cpu.model.is_some()) && instancetype.cpu.model.is_some(), "domain.cpu.model"),
        (
            has_cpu(|cpu| cpu.dedicated_cpu_placement) && instancetype.cpu.dedicated_cpu_placement.is_some(),
            "domain.cpu.dedicatedCpuPlacement",
        ),
        (has_cpu(|cpu| cpu.numa.is_some()) && instancetype.cpu.numa.is_some(), "domain.cpu.numa"),
        (
            has_cpu(|cpu| cpu.isolate_emulator_thread) && instancetype.cpu.isolate_emulator_thread.is_some(),
            "domain.cpu.isolateEmulatorThread",
        ),
        (has_cpu(|cpu| cpu.realtime.is_some()) && instancetype.cpu.realtime.is_some(), "domain.cpu.realtime"),
        (domain.resources.requests.contains_key("cpu"), "domain.resources.requests.cpu"),
        (domain.resources.limits.contains_key("cpu"), "domain.resources.limits.cpu"),
        (memory.is_some_and(|memory| memory.guest.is_some()), "domain.memory.guest"),
        (
            memory.is_some_and(|memory| memory.hugepages.is_some())
                && instancetype.memory.hugepages.is_some(),
            "domain.memory.hugepages",
        ),
        (domain.resources.requests.contains_key("memory"), "domain.resources.requests.memory"),
        (domain.resources.limits.contains_key("memory"), "domain.resources.limits.memory"),
        (!domain.devices.gpus.is_empty() && !instancetype.gpus.is_empty(), "domain.devices.gpus"),
        (
            !domain.devices.host_devices.is_empty() && !instancetype.host_devices.is_empty(),
            "domain.devices.hostDevices",
        ),
        (
            domain.io_threads_policy.is_some() && instancetype.io_threads_policy.is_some(),
            "domain.ioThreadsPolicy",
        ),
        (!spec.node_selector.is_empty() && !instancetype.node_selector.is_empty(), "nodeSelector"),
        (!spec.scheduler_name.is_empty() && !instancetype.scheduler_name.is_empty(), "schedulerName"),
        (domain.launch_security.is_some() && instancetype.launch_security.is_some(), "domain.launchSecurity"),
    ];
    all.into_iter().filter(|(given, _)| *given).map(|(_, path)| path).collect()
}
