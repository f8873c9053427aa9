//! Instancetypes, which size machines, and preferences, which fill what machines leave open.

use std::collections::BTreeMap;

use super::{
    Bios, BlockSize, Clock, CpuFeature, DiskBus, DiskCache, DiskIo, DiskIoThreads, Efi, FeatureApic,
    FeatureHyperv, FeatureKvm, FeatureState, Gpu, HostDevice, Hugepages, HypervPassthrough, IoThreadsPolicy,
    LaunchSecurity, Numa, ObjectMeta, Presence, Quantity, Realtime, Timer, TpmDevice, VgpuOptions,
};

object! {
    /// The size of a machine. (The kind for all name spaces is VirtualMachineClusterInstancetype.)
    pub struct VirtualMachineInstancetype {
        /// `instancetype.kubevirt.io/v1beta1`.
        api_version: String, HONOURED;
        /// `VirtualMachineInstancetype` or `VirtualMachineClusterInstancetype`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// The size.
        spec: InstancetypeSpec [required], HONOURED;
    }

    /// The size of a machine.
    pub struct InstancetypeSpec {
        /// The vCPUs.
        cpu: InstancetypeCpu [required], HONOURED;
        /// The memory.
        memory: InstancetypeMemory [required], HONOURED;
        /// Graphics processors passed through.
        gpus: Vec<Gpu>, HONOURED;
        /// Devices of the host passed through.
        host_devices: Vec<HostDevice>, HONOURED;
        /// How I/O threads are shared among disks.
        io_threads_policy as "ioThreadsPolicy": Option<IoThreadsPolicy>, HONOURED;
        /// Options of the I/O threads.
        io_threads as "ioThreads": Option<DiskIoThreads>, HONOURED;
        /// Confidential computing.
        launch_security: Option<LaunchSecurity>, HONOURED;
        /// Labels that the node must have.
        node_selector: BTreeMap<String, String>, HONOURED;
        /// The scheduler that places the pod.
        scheduler_name: String, HONOURED;
        /// Annotations of the machine.
        annotations: BTreeMap<String, String>, HONOURED;
    }

    /// The vCPUs of an instancetype.
    pub struct InstancetypeCpu {
        /// How many.
        guest: u32 [required], HONOURED;
        /// The CPU model.
        model: Option<String>, HONOURED;
        /// Give each vCPU a host CPU of its own.
        dedicated_cpu_placement as "dedicatedCPUPlacement": Option<bool>, HONOURED;
        /// NUMA topology of the guest.
        numa: Option<Numa>, HONOURED;
        /// Give the VMM's other threads a host CPU of their own.
        isolate_emulator_thread: Option<bool>, HONOURED;
        /// Run vCPUs with a real-time scheduler.
        realtime: Option<Realtime>, HONOURED;
        /// The most sockets that hot-plug may reach.
        max_sockets: Option<u32>, HONOURED;
    }

    /// The memory of an instancetype.
    pub struct InstancetypeMemory {
        /// How much.
        guest: Quantity [required], HONOURED;
        /// Back it with huge pages.
        hugepages: Option<Hugepages>, HONOURED;
        /// How much less is asked of the cluster, in percent.
        overcommit_percent: u32, CLUSTER;
        /// The most that hot-plug may reach.
        max_guest: Option<Quantity>, HONOURED;
    }

    /// What fills the things a machine leaves open. (The kind for all name spaces is
    /// VirtualMachineClusterPreference.)
    pub struct VirtualMachinePreference {
        /// `instancetype.kubevirt.io/v1beta1`.
        api_version: String, HONOURED;
        /// `VirtualMachinePreference` or `VirtualMachineClusterPreference`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// What fills the things left open.
        spec: PreferenceSpec, HONOURED;
    }

    /// What fills the things a machine leaves open.
    pub struct PreferenceSpec {
        /// Clock and timers.
        clock: Option<ClockPreferences>, HONOURED;
        /// The arrangement of vCPUs.
        cpu: Option<CpuPreferences>, HONOURED;
        /// Devices.
        devices: Option<DevicePreferences>, HONOURED;
        /// Platform features.
        features: Option<FeaturePreferences>, HONOURED;
        /// Firmware.
        firmware: Option<FirmwarePreferences>, HONOURED;
        /// The machine type.
        machine: Option<MachinePreferences>, HONOURED;
        /// Volumes.
        volumes: Option<VolumePreferences>, CLUSTER;
        /// The subdomain.
        preferred_subdomain: Option<String>, HONOURED;
        /// The seconds between the press of the power button and a forced stop.
        preferred_termination_grace_period_seconds: Option<i64>, HONOURED;
        /// What the machine must have at least.
        requirements: Option<PreferenceRequirements>, HONOURED;
        /// Annotations of the machine.
        annotations: BTreeMap<String, String>, HONOURED;
        /// How many cores each socket gets when vCPUs are spread, in the old form.
        prefer_spread_socket_to_core_ratio: u32 = "2", HONOURED;
        /// The processor's architecture.
        preferred_architecture: Option<String>, HONOURED;
    }

    /// Clock and timers preferred.
    pub struct ClockPreferences {
        /// The base of the clock.
        preferred_clock_offset: Option<Clock>, HONOURED;
        /// The timers.
        preferred_timer: Option<Timer>, HONOURED;
    }

    /// The arrangement of vCPUs preferred.
    pub struct CpuPreferences {
        /// What an instancetype's vCPUs become: sockets, cores, threads, spread or any.
        preferred_cpu_topology as "preferredCPUTopology": Option<String> = "sockets", HONOURED;
        /// How they are spread.
        spread_options: Option<SpreadOptions>, HONOURED;
        /// CPU features.
        preferred_cpu_features as "preferredCPUFeatures": Vec<CpuFeature>, HONOURED;
    }

    /// How vCPUs are spread.
    pub struct SpreadOptions {
        /// Over what: SocketsCores, CoresThreads or SocketsCoresThreads.
        across: Option<String> = "SocketsCores", HONOURED;
        /// How many of the inner in each of the outer.
        ratio: Option<u32> = "2", HONOURED;
    }

    /// Devices preferred.
    pub struct DevicePreferences {
        /// See `devices.autoattachGraphicsDevice`.
        preferred_autoattach_graphics_device: Option<bool>, HONOURED;
        /// See `devices.autoattachMemBalloon`.
        preferred_autoattach_mem_balloon: Option<bool>, HONOURED;
        /// See `devices.autoattachPodInterface`.
        preferred_autoattach_pod_interface: Option<bool>, HONOURED;
        /// See `devices.autoattachSerialConsole`.
        preferred_autoattach_serial_console: Option<bool>, HONOURED;
        /// See `devices.autoattachInputDevice`.
        preferred_autoattach_input_device: Option<bool>, HONOURED;
        /// See `devices.disableHotplug`.
        preferred_disable_hotplug: Option<bool>, HONOURED;
        /// Options of shared graphics processors.
        preferred_virtual_gpu_options as "preferredVirtualGPUOptions": Option<VgpuOptions>, HONOURED;
        /// The model of the sound card.
        preferred_sound_model: Option<String>, HONOURED;
        /// See `devices.useVirtioTransitional`.
        preferred_use_virtio_transitional: Option<bool>, HONOURED;
        /// The bus of input devices.
        preferred_input_bus: Option<String>, HONOURED;
        /// The type of input devices.
        preferred_input_type: Option<String>, HONOURED;
        /// The bus of hard disks.
        preferred_disk_bus: Option<DiskBus>, HONOURED;
        /// The bus of SCSI disks passed through.
        preferred_lun_bus: Option<DiskBus>, HONOURED;
        /// The bus of CD-ROM drives.
        preferred_cdrom_bus: Option<DiskBus>, HONOURED;
        /// Serve each disk with an I/O thread of its own.
        preferred_disk_dedicated_io_thread: Option<bool>, HONOURED;
        /// How the host caches disks.
        preferred_disk_cache: Option<DiskCache>, HONOURED;
        /// How the host does the I/O of disks.
        preferred_disk_io as "preferredDiskIO": Option<DiskIo>, HONOURED;
        /// Sizes of blocks.
        preferred_disk_block_size: Option<BlockSize>, HONOURED;
        /// The model of network cards.
        preferred_interface_model: Option<String>, HONOURED;
        /// Masquerade for network cards without a binding.
        preferred_interface_masquerade: Option<Presence>, HONOURED;
        /// See `devices.rng`.
        preferred_rng: Option<Presence>, HONOURED;
        /// See `devices.blockMultiQueue`.
        preferred_block_multi_queue: Option<bool>, HONOURED;
        /// See `devices.networkInterfaceMultiqueue`.
        preferred_network_interface_multi_queue: Option<bool>, HONOURED;
        /// See `devices.tpm`.
        preferred_tpm as "preferredTPM": Option<TpmDevice>, HONOURED;
        /// See `devices.panicDevices`.
        preferred_panic_device_model: Option<String>, HONOURED;
        /// See `devices.video`.
        preferred_video_type: Option<String>, HONOURED;
    }

    /// Platform features preferred.
    pub struct FeaturePreferences {
        /// See `features.acpi`.
        preferred_acpi: Option<FeatureState>, HONOURED;
        /// See `features.apic`.
        preferred_apic: Option<FeatureApic>, HONOURED;
        /// See `features.hyperv`.
        preferred_hyperv: Option<FeatureHyperv>, HONOURED;
        /// See `features.hypervPassthrough`.
        preferred_hyperv_passthrough: Option<HypervPassthrough>, HONOURED;
        /// See `features.kvm`.
        preferred_kvm: Option<FeatureKvm>, HONOURED;
        /// See `features.pvspinlock`.
        preferred_pvspinlock: Option<FeatureState>, HONOURED;
        /// See `features.smm`.
        preferred_smm: Option<FeatureState>, HONOURED;
    }

    /// Firmware preferred.
    pub struct FirmwarePreferences {
        /// Use BIOS.
        preferred_use_bios: Option<bool>, HONOURED;
        /// Firmware messages on the serial console.
        preferred_use_bios_serial: Option<bool>, HONOURED;
        /// Use UEFI.
        preferred_use_efi: Option<bool>, HONOURED;
        /// Boot signed programs only.
        preferred_use_secure_boot: Option<bool>, HONOURED;
        /// UEFI with its options.
        preferred_efi: Option<Efi>, HONOURED;
        /// BIOS with its options.
        preferred_bios: Option<Bios>, CLUSTER;
    }

    /// The machine type preferred.
    pub struct MachinePreferences {
        /// The machine type.
        preferred_machine_type: String, HONOURED;
    }

    /// Volumes preferred.
    pub struct VolumePreferences {
        /// The class of storage.
        preferred_storage_class_name: String, CLUSTER;
    }

    /// What a machine must have at least.
    pub struct PreferenceRequirements {
        /// vCPUs.
        cpu: Option<CpuRequirement>, HONOURED;
        /// Memory.
        memory: Option<MemoryRequirement>, HONOURED;
        /// The processor's architecture.
        architecture: Option<String>, HONOURED;
    }

    /// How many vCPUs a machine must have at least.
    pub struct CpuRequirement {
        /// The number.
        guest: u32, HONOURED;
    }

    /// How much memory a machine must have at least.
    pub struct MemoryRequirement {
        /// The amount.
        guest: Quantity, HONOURED;
    }
}
