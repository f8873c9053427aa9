//! CPU: requests, limits, topology, features, dedicated placement.

use super::super::{Findings, Reason};
use crate::api::{Cpu, CpuFeaturePolicy, Quantity, VirtualMachineInstanceSpec};
use crate::machine::Topology;

const REQUEST: &str = "spec.domain.resources.requests.cpu";
const LIMIT: &str = "spec.domain.resources.limits.cpu";
const DEDICATED: &str = "spec.domain.cpu.dedicatedCpuPlacement";
const NUMA: &str = "spec.domain.cpu.numa.guestMappingPassthrough";
/// The most vCPUs that a KVM machine can have (KVM_MAX_VCPUS on x86_64).
const MOST_VCPUS: u64 = 4096;

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    cpu_amounts_are_positive(spec, findings);
    cpu_request_is_within_limit(spec, findings);
    let Some(cpu) = &spec.domain.cpu else { return };
    vcpus_can_be_had(cpu, findings);
    sockets_are_within_maximum(cpu, findings);
    feature_policies_are_known(cpu, findings);
    emulator_thread_needs_dedicated_cpus(cpu, findings);
    numa_needs_dedicated_cpus_and_huge_pages(cpu, spec, findings);
    realtime_needs_dedicated_cpus_and_numa(cpu, findings);
    if cpu.dedicated_cpu_placement {
        dedicated_cpus_need_memory_amounts(spec, findings);
        dedicated_cpus_are_whole(spec, findings);
        dedicated_cpus_have_equal_amounts(cpu, spec, findings);
        dedicated_threads_are_at_most_two(cpu, findings);
    }
}

fn request(spec: &VirtualMachineInstanceSpec) -> Option<&Quantity> {
    spec.domain.resources.requests.get("cpu")
}

fn limit(spec: &VirtualMachineInstanceSpec) -> Option<&Quantity> {
    spec.domain.resources.limits.get("cpu")
}

fn cpu_amounts_are_positive(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (amount, path) in [(request(spec), REQUEST), (limit(spec), LIMIT)] {
        if let Some(amount) = amount.filter(|amount| amount.is_negative()) {
            findings.invalid(path, format!("{amount} is below zero"));
        }
    }
}

fn cpu_request_is_within_limit(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    if let (Some(request), Some(limit)) = (request(spec), limit(spec))
        && *limit > Quantity::default()
        && request > limit
    {
        findings.invalid(
            REQUEST,
            format!(
                "the request {request} is more than the limit {limit}: raise the limit or lower the request"
            ),
        );
    }
}

/// The product of the topology is a number of vCPUs that KVM has.
fn vcpus_can_be_had(cpu: &Cpu, findings: &mut Findings<'_>) {
    let part = |count: u32| u64::from(count.max(1));
    let vcpus = part(cpu.sockets).saturating_mul(part(cpu.cores)).saturating_mul(part(cpu.threads));
    if vcpus > MOST_VCPUS {
        let message = format!("{vcpus} vCPUs (sockets × cores × threads) are more than a machine can have");
        findings.cannot("spec.domain.cpu", message);
    }
}

fn sockets_are_within_maximum(cpu: &Cpu, findings: &mut Findings<'_>) {
    if cpu.max_sockets != 0 && cpu.sockets > cpu.max_sockets {
        let message = format!("{} sockets are more than maxSockets {}", cpu.sockets, cpu.max_sockets);
        findings.invalid("spec.domain.cpu.sockets", message);
    }
}

fn feature_policies_are_known(cpu: &Cpu, findings: &mut Findings<'_>) {
    for (index, feature) in cpu.features.iter().enumerate() {
        if let Some(CpuFeaturePolicy::Other(policy)) = &feature.policy {
            let known = CpuFeaturePolicy::WORDS.join(", ");
            let message = format!("{policy:?} is not a policy: use one of {known}");
            findings.put(Reason::NotSupported, format!("spec.domain.cpu.features[{index}].policy"), message);
        }
    }
}

fn emulator_thread_needs_dedicated_cpus(cpu: &Cpu, findings: &mut Findings<'_>) {
    if cpu.isolate_emulator_thread && !cpu.dedicated_cpu_placement {
        let message = "works only together with dedicatedCpuPlacement: true";
        findings.invalid("spec.domain.cpu.isolateEmulatorThread", message);
    }
}

fn has_numa(cpu: &Cpu) -> bool {
    cpu.numa.as_ref().is_some_and(|numa| numa.guest_mapping_passthrough.is_some())
}

fn numa_needs_dedicated_cpus_and_huge_pages(
    cpu: &Cpu,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    if !has_numa(cpu) {
        return;
    }
    if !cpu.dedicated_cpu_placement {
        findings.invalid(NUMA, "needs cpu.dedicatedCpuPlacement: true");
    }
    if spec.domain.memory.as_ref().is_none_or(|memory| memory.hugepages.is_none()) {
        findings.invalid(NUMA, "needs memory.hugepages");
    }
}

fn realtime_needs_dedicated_cpus_and_numa(cpu: &Cpu, findings: &mut Findings<'_>) {
    if cpu.realtime.is_none() {
        return;
    }
    if !cpu.dedicated_cpu_placement {
        findings.required(DEDICATED, "realtime needs dedicatedCpuPlacement: true");
    }
    if !has_numa(cpu) {
        findings.required(NUMA, "realtime needs numa.guestMappingPassthrough");
    }
}

/// Dedicated CPUs come with a fixed amount of memory: a limit or a request, and both equal.
fn dedicated_cpus_need_memory_amounts(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    let resources = &spec.domain.resources;
    let given = |amount: Option<&Quantity>| amount.map_or(0, Quantity::ceil);
    let (request, limit) = (given(resources.requests.get("memory")), given(resources.limits.get("memory")));
    let is_sized = spec.domain.memory.as_ref().is_some_and(|memory| memory.guest.is_some());
    if request == 0 && limit == 0 && !is_sized {
        let message = "dedicated CPUs need a memory request or limit";
        findings.invalid("spec.domain.resources.limits.memory", message);
    }
    if request > 0 && limit > 0 && request != limit {
        let message = "dedicated CPUs need a memory request equal to the memory limit";
        findings.invalid("spec.domain.resources.requests.memory", message);
    }
}

fn dedicated_cpus_are_whole(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (amount, path) in [(request(spec), REQUEST), (limit(spec), LIMIT)] {
        let Some(amount) = amount else { continue };
        if *amount > Quantity::default() && amount.whole().is_none() {
            findings.invalid(path, format!("dedicated CPUs come whole: {amount} is not a whole number"));
        }
    }
}

/// Request, limit and topology say the same number of CPUs, where they say one.
fn dedicated_cpus_have_equal_amounts(
    cpu: &Cpu,
    spec: &VirtualMachineInstanceSpec,
    findings: &mut Findings<'_>,
) {
    let given = |amount: Option<&Quantity>| amount.map_or(0, Quantity::ceil);
    let (request, limit) = (given(request(spec)), given(limit(spec)));
    if request > 0 && limit > 0 && request != limit {
        findings.invalid(DEDICATED, "dedicated CPUs need a CPU request equal to the CPU limit");
    }
    let topology =
        Topology { sockets: cpu.sockets.max(1), cores: cpu.cores.max(1), threads: cpu.threads.max(1) };
    let vcpus = i128::from(topology.vcpus());
    if (request > 0 || limit > 0) && request != vcpus && limit != vcpus {
        let message = format!("the CPU request or limit must be the number of vCPUs, which is {vcpus}");
        findings.invalid(DEDICATED, message);
    }
}

fn dedicated_threads_are_at_most_two(cpu: &Cpu, findings: &mut Findings<'_>) {
    if cpu.threads > 2 {
        findings
            .invalid(DEDICATED, format!("dedicated CPUs have at most 2 threads a core, not {}", cpu.threads));
    }
}
