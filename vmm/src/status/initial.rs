//! What the status says of a machine from its plan.

use spec::api::{
    CpuTopologyStatus, InterfaceStatus, MachineStatus, MemoryStatus, Quantity, ResourceRequirements,
    VirtualMachineInstance, VirtualMachineInstanceStatus, VolumeSource, VolumeStatus,
};

use super::clock;
use crate::plan::{DevicePlan, Plan};
use crate::sys::{line, user};

/// Label by which clusters tell where a machine runs.
const NODE_LABEL: &str = "kubevirt.io/nodeName";

/// The object that a cluster would have made of `vmi` when it took it in.
pub(super) fn object(mut vmi: VirtualMachineInstance) -> VirtualMachineInstance {
    let metadata = &mut vmi.metadata;
    if metadata.namespace.is_empty() {
        metadata.namespace = "default".into();
    }
    if metadata.uid.is_empty() {
        metadata.uid = line::random_uuid();
    }
    metadata.creation_timestamp = Some(clock::now());
    metadata.deletion_timestamp = None;
    metadata.managed_fields.clear();
    metadata.labels.insert(NODE_LABEL.into(), node_name());
    vmi.api_version = "kubevirt.io/v1".into();
    vmi.kind = "VirtualMachineInstance".into();
    vmi.status = None;
    vmi
}

/// The status of `vmi`, planned as `plan`.
pub(super) fn status(vmi: &VirtualMachineInstance, plan: &Plan) -> VirtualMachineInstanceStatus {
    let topology = plan.cpu.topology;
    let bytes = || Some(Quantity::of_bytes(plan.memory.ram.bytes()));
    let machine = vmi.spec.domain.machine.as_ref().map(|machine| machine.r#type.clone());
    VirtualMachineInstanceStatus {
        current_cpu_topology: Some(CpuTopologyStatus {
            cores: topology.cores(),
            sockets: topology.sockets(),
            threads: topology.threads(),
        }),
        interfaces: interfaces(plan),
        machine: Some(MachineStatus { r#type: machine.unwrap_or_else(|| "q35".into()) }),
        memory: Some(MemoryStatus {
            guest_at_boot: bytes(),
            guest_current: bytes(),
            guest_requested: bytes(),
            memory_overhead: None,
        }),
        node_name: node_name(),
        qos_class: qos_class(&vmi.spec.domain.resources).into(),
        runtime_user: user::effective().into(),
        volume_status: volumes(vmi, plan),
        ..VirtualMachineInstanceStatus::default()
    }
}

fn interfaces(plan: &Plan) -> Vec<InterfaceStatus> {
    let cards = plan.functions.iter().filter_map(|function| match &function.device {
        DevicePlan::Nic(nic) => Some(nic.status()),
        _ => None,
    });
    cards.collect()
}

/// All volumes of the manifest by name; those that are disks have their name in a Linux guest.
fn volumes(vmi: &VirtualMachineInstance, plan: &Plan) -> Vec<VolumeStatus> {
    let is_disk = |device: &DevicePlan| matches!(device, DevicePlan::Disk(_));
    let disks: Vec<_> = plan.functions.iter().filter(|function| is_disk(&function.device)).collect();
    let mut volumes: Vec<_> = vmi
        .spec
        .volumes
        .iter()
        .map(|volume| VolumeStatus {
            name: volume.name.clone(),
            target: disks.iter().position(|disk| disk.name == volume.name).map(disk_name).unwrap_or_default(),
            persistent_volume_claim_info: claim(&volume.source),
            ..VolumeStatus::default()
        })
        .collect();
    volumes.sort_by(|one, other| one.name.cmp(&other.name));
    volumes
}

fn claim(source: &VolumeSource) -> Option<spec::api::ClaimInfo> {
    let claim_name = match source {
        VolumeSource::PersistentVolumeClaim(claim) => claim.claim_name.clone(),
        VolumeSource::DataVolume(volume) => volume.name.clone(),
        _ => return None,
    };
    Some(spec::api::ClaimInfo { claim_name, ..Default::default() })
}

/// Name that Linux gives the disk of this number: `vda` to `vdz`, then `vdaa`.
pub(super) fn disk_name(number: usize) -> String {
    let mut letters = Vec::new();
    let mut left = number + 1;
    while left > 0 {
        left -= 1;
        letters.push(char::from(b'a' + u8::try_from(left % 26).unwrap_or_default()));
        left /= 26;
    }
    format!("vd{}", letters.iter().rev().collect::<String>())
}

/// Kubernetes' class of service of a pod with these resources (there is always a request, so it is never BestEffort).
fn qos_class(resources: &ResourceRequirements) -> &'static str {
    let is_fixed = |name: &str| {
        resources.limits.get(name).is_some_and(|limit| {
            resources.requests.get(name).is_none_or(|request| request.nano() == limit.nano())
        })
    };
    if is_fixed("cpu") && is_fixed("memory") { "Guaranteed" } else { "Burstable" }
}

/// The node's name that a pod is told of by `NODE_NAME`, else the host's.
fn node_name() -> String {
    let told = std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty());
    told.unwrap_or_else(|| line::read("/proc/sys/kernel/hostname"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_linux_does() {
        let names = [(0, "vda"), (25, "vdz"), (26, "vdaa"), (701, "vdzz"), (702, "vdaaa")];
        for (number, name) in names {
            assert_eq!(disk_name(number), name);
        }
    }

    #[test]
    fn the_class_of_service_is_kubernetes() {
        let quantity = |text: &str| text.parse::<Quantity>().unwrap();
        let mut resources = ResourceRequirements::default();
        assert_eq!(qos_class(&resources), "Burstable");
        resources.limits.insert("cpu".into(), quantity("2"));
        assert_eq!(qos_class(&resources), "Burstable");
        resources.limits.insert("memory".into(), quantity("1Gi"));
        resources.requests.insert("memory".into(), quantity("1024Mi"));
        assert_eq!(qos_class(&resources), "Guaranteed");
        resources.requests.insert("cpu".into(), quantity("1"));
        assert_eq!(qos_class(&resources), "Burstable");
    }
}
