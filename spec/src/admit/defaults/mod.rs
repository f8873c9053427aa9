//! What KubeVirt fills in before it looks at a machine. Doing it twice changes nothing.

mod devices;
mod sizes;

use crate::api::{Firmware, Machine, VirtualMachineInstance};
use crate::uuid::Uuid;

/// Applies all defaults in KubeVirt's order.
pub(super) fn machine(vmi: &mut VirtualMachineInstance) {
    let name = vmi.metadata.name.clone();
    let spec = &mut vmi.spec;
    spec.architecture.get_or_insert_with(|| "amd64".into());
    machine_type(&mut spec.domain.machine);
    sizes::cpu_request(&mut spec.domain);
    sizes::guest_memory(&mut spec.domain);
    sizes::topology(&mut spec.domain);
    devices::network(spec);
    devices::disk_of_each_volume(spec);
    devices::disks(&mut spec.domain.devices);
    firmware_uuid(spec.domain.firmware.get_or_insert_default(), &name);
}

fn machine_type(machine: &mut Option<Machine>) {
    let machine = machine.get_or_insert_default();
    if machine.r#type.is_empty() {
        machine.r#type = "q35".into();
    }
}

/// A machine without a UUID gets the one that KubeVirt makes of a VM's name, so that it is the same at every start and
/// cloud-init does not take the guest for a new one.
fn firmware_uuid(firmware: &mut Firmware, name: &str) {
    firmware.uuid.get_or_insert_with(|| Uuid::of_machine(name).to_string());
}
