//! Memory, CPU, firmware and features.

use serde_json::{Value, json};

use super::rows;

#[test]
fn memory_and_cpu() {
    let dedicated = || ("domain.cpu.dedicatedCpuPlacement", json!(true));
    let requests = |value: Value| ("domain.resources.requests", value);
    let limits = |value: Value| ("domain.resources.limits", value);
    rows(vec![
        (vec![("domain.memory", json!({}))], &["Required "]),
        (vec![requests(json!({"memory": "-1Gi"}))], &["Invalid resources.requests.memory"]),
        (vec![requests(json!({"memory": "64"}))], &["Invalid resources.requests.memory"]),
        (vec![limits(json!({"memory": "-1Gi"}))], &["Invalid resources.limits.memory"]),
        (
            vec![requests(json!({"memory": "2Gi"})), limits(json!({"memory": "1Gi"}))],
            &["Invalid resources.requests.memory"],
        ),
        (vec![("domain.memory.guest", json!("64"))], &["NotSupported memory.guest"]),
        (vec![("domain.memory.maxGuest", json!("512Mi"))], &["NotSupported memory.guest"]),
        (vec![("domain.memory.hugepages.pageSize", json!("2Mi"))], &[]),
        (vec![("domain.memory.hugepages.pageSize", json!("2Gi"))], &["Invalid resources.requests.memory"]),
        (vec![("domain.memory.hugepages.pageSize", json!("3Mi"))], &["Invalid resources.requests.memory"]),
        (vec![("domain.memory.hugepages.pageSize", json!("2ab"))], &["Invalid memory.hugepages.pageSize"]),
        (vec![("domain.memory.hugepages.pageSize", json!("0"))], &["Invalid memory.hugepages.pageSize"]),
        (vec![requests(json!({"cpu": "-1"}))], &["Invalid resources.requests.cpu"]),
        (
            vec![limits(json!({"cpu": "-1"}))],
            &["Invalid resources.limits.cpu", "Invalid resources.requests.cpu"],
        ),
        (
            vec![requests(json!({"cpu": "2"})), limits(json!({"cpu": "1"}))],
            &["Invalid resources.requests.cpu"],
        ),
        (vec![("domain.cpu", json!({"sockets": 4, "maxSockets": 2}))], &["Invalid cpu.sockets"]),
        (vec![("domain.cpu", json!({"sockets": 4096, "cores": 2}))], &["NotSupported cpu"]),
        (
            vec![("domain.cpu", json!({"features": [{"name": "vmx", "policy": "maybe"}]}))],
            &["NotSupported cpu.features[0].policy"],
        ),
        (vec![("domain.cpu", json!({"model": "Haswell"}))], &[]),
        (
            vec![("domain.cpu", json!({"isolateEmulatorThread": true}))],
            &["Invalid cpu.isolateEmulatorThread"],
        ),
        (
            vec![("domain.cpu", json!({"numa": {"guestMappingPassthrough": {}}}))],
            &["Invalid cpu.numa.guestMappingPassthrough"],
        ),
        (
            vec![("domain.cpu", json!({"realtime": {}}))],
            &["Required cpu.dedicatedCpuPlacement", "Required cpu.numa.guestMappingPassthrough"],
        ),
        (
            vec![dedicated(), requests(json!({"memory": "1Gi"})), limits(json!({"memory": "2Gi"}))],
            &["Invalid resources.requests.memory"],
        ),
        (vec![dedicated(), requests(json!({"cpu": "1500m"}))], &["Invalid resources.requests.cpu"]),
        (
            vec![dedicated(), requests(json!({"cpu": "1"})), limits(json!({"cpu": "2"}))],
            &["Invalid cpu.dedicatedCpuPlacement"],
        ),
        (
            vec![dedicated(), ("domain.cpu.cores", json!(4)), requests(json!({"cpu": "2"}))],
            &["Invalid cpu.dedicatedCpuPlacement"],
        ),
        (vec![dedicated(), ("domain.cpu.threads", json!(3))], &["Invalid cpu.dedicatedCpuPlacement"]),
    ]);
}

#[test]
fn firmware_and_features() {
    let firmware = |value: Value| ("domain.firmware", value);
    let features = |value: Value| ("domain.features", value);
    rows(vec![
        (vec![("domain.firmware.uuid", json!("x"))], &["NotSupported firmware.uuid"]),
        (vec![("domain.firmware.serial", json!("$$"))], &["Invalid firmware.serial"]),
        (
            vec![firmware(json!({"bootloader": {"bios": {}, "efi": {"secureBoot": false}}}))],
            &["Invalid firmware.bootloader"],
        ),
        (
            vec![firmware(json!({"bootloader": {"efi": {}}}))],
            &["Invalid spec.domain", "NotSupported firmware.bootloader.efi.secureBoot"],
        ),
        (
            vec![firmware(json!({"kernelBoot": {"kernelArgs": "quiet"}}))],
            &["Invalid firmware.kernelBoot.kernelArgs"],
        ),
        (
            vec![("domain.firmware.kernelBoot.container", json!({"image": ""}))],
            &["Required firmware.kernelBoot.container", "Required firmware.kernelBoot.container.image"],
        ),
        (
            vec![("domain.firmware.kernelBoot.container.kernelPath", json!("../k"))],
            &["Invalid firmware.kernelBoot.container.kernelPath"],
        ),
        (vec![("domain.firmware.acpi", json!({}))], &["Invalid spec.acpi"]),
        (vec![("domain.firmware.acpi", json!({"slicNameRef": "root"}))], &["Invalid spec.acpi.slicNameRef"]),
        (vec![("domain.firmware.acpi", json!({"msdmNameRef": "gone"}))], &["Invalid spec.acpi.msdmNameRef"]),
        (vec![("domain.machine.type", json!("pc-q35-9.2"))], &[]),
        (vec![("domain.machine.type", json!("i440fx"))], &["Invalid machine.type"]),
        (vec![features(json!({"acpi": {"enabled": false}}))], &["NotSupported features.acpi"]),
        (vec![features(json!({"hyperv": {}, "hypervPassthrough": {}}))], &["Invalid features.hyperv"]),
        (
            vec![features(json!({"hyperv": {"ipi": {}, "vpindex": {"enabled": false}}}))],
            &["Invalid features.hyperv.ipi"],
        ),
        (vec![features(json!({"hyperv": {"synictimer": {}}}))], &[]),
        (
            vec![features(json!({"hyperv": {"spinlocks": {"spinlocks": 1}}}))],
            &["NotSupported features.hyperv.spinlocks.spinlocks"],
        ),
        (
            vec![features(json!({"hyperv": {"vendorid": {"vendorid": "more than twelve"}}}))],
            &["NotSupported features.hyperv.vendorid.vendorid"],
        ),
        (
            vec![("domain.launchSecurity", json!({"sev": {}, "tdx": {}}))],
            &["Forbidden spec.launchSecurity", "NotSupported launchSecurity"],
        ),
        (
            vec![("domain.launchSecurity", json!({"sev": {}}))],
            &["Invalid spec.launchSecurity", "NotSupported launchSecurity"],
        ),
    ]);
}
