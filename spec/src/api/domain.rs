//! The machine itself: `spec.domain`.

use std::collections::BTreeMap;

use super::{Clock, Cpu, Devices, Features, Firmware, LaunchSecurity, Memory, Quantity};

object! {
    /// The hardware of a virtual machine.
    pub struct DomainSpec {
        /// The pod's requests and limits; they size the guest where `cpu` and `memory` do not.
        resources: ResourceRequirements, HONOURED;
        /// The virtual CPU: how many, how arranged, which features.
        cpu: Option<Cpu>, HONOURED;
        /// The guest's memory.
        memory: Option<Memory>, HONOURED;
        /// The machine type.
        machine: Option<Machine> = "q35", HONOURED;
        /// What the machine boots with, and how it identifies itself.
        firmware: Option<Firmware>, HONOURED;
        /// The clock and timers.
        clock: Option<Clock> = "UTC", HONOURED;
        /// Platform features such as ACPI and Hyper-V enlightenments.
        features: Option<Features>, HONOURED;
        /// Disks, network cards and all other devices.
        devices: Devices [required], HONOURED;
        /// How I/O threads are shared among disks.
        io_threads_policy as "ioThreadsPolicy": Option<IoThreadsPolicy>, HONOURED;
        /// Options of the I/O threads.
        io_threads as "ioThreads": Option<DiskIoThreads>, HONOURED;
        /// What the label on the machine's case says (SMBIOS type 3).
        chassis: Option<Chassis>, HONOURED;
        /// Confidential computing.
        launch_security: Option<LaunchSecurity>,
            no("confidential guests (SEV, SNP, TDX) cannot be run: remove launchSecurity");
        /// What a reboot from within the guest does.
        reboot_policy: Option<RebootPolicy> = "Reboot", HONOURED;
    }

    /// CPU and memory asked of the cluster for the VM.
    pub struct ResourceRequirements {
        /// What the cluster must have free: `memory` and `cpu`.
        requests: BTreeMap<String, Quantity>, HONOURED;
        /// What the VM may not exceed: `memory` and `cpu`.
        limits: BTreeMap<String, Quantity>, HONOURED;
        /// Leave the hypervisor's own memory out of the request.
        overcommit_guest_overhead: bool = "false", CLUSTER;
    }

    /// The machine type.
    pub struct Machine {
        /// `q35` or one of its versions (`pc-q35-9.2`); kubevmm has one q35, whatever the version.
        r#type as "type": String = "q35", HONOURED;
    }

    /// Options of the I/O threads.
    pub struct DiskIoThreads {
        /// The number of threads of the `supplementalPool` policy.
        supplemental_pool_thread_count: Option<u32>, HONOURED;
    }

    /// What the label on the machine's case says (SMBIOS type 3).
    pub struct Chassis {
        /// Who made it.
        manufacturer: String, HONOURED;
        /// Its version.
        version: String, HONOURED;
        /// Its serial number.
        serial: String, HONOURED;
        /// Its asset tag.
        asset: String, HONOURED;
        /// Its stock keeping unit.
        sku: String, HONOURED;
    }
}

choice! {
    /// How I/O threads are shared among disks.
    pub enum IoThreadsPolicy [pointer] {
        /// One thread for all disks without one of their own.
        Shared = "shared",
        /// A number of threads after the number of vCPUs.
        Auto = "auto",
        /// A pool of a given number of threads for all disks.
        SupplementalPool = "supplementalPool",
    }

    /// What a reboot from within the guest does.
    pub enum RebootPolicy [pointer] {
        /// The machine starts anew.
        Reboot = "Reboot",
        /// The VM ends.
        Terminate = "Terminate",
    }
}
