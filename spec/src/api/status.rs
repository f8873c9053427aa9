//! VirtualMachineInstance: the status. It is read, so that objects out of a cluster can be given as they are, and written
//! by the launcher.

use std::collections::BTreeMap;

use super::{MigratedVolume, MigrationState, Quantity, Time};

object! {
    /// A virtual machine as it is: written by a cluster, and by the launcher of a machine.
    pub struct VirtualMachineInstanceStatus {
        /// The guest's address on vsock.
        vsockcid as "VSOCKCID": u32, CLUSTER;
        /// The pods that run the VM, and their nodes.
        active_pods: BTreeMap<String, String>, CLUSTER;
        /// Whether changed blocks are tracked.
        changed_block_tracking: Option<ChangedBlockTrackingStatus>, CLUSTER;
        /// What holds of the VM at present.
        conditions: Vec<Condition>, CLUSTER;
        /// The arrangement of vCPUs.
        current_cpu_topology as "currentCPUTopology": Option<CpuTopologyStatus>, CLUSTER;
        /// The node that is being emptied.
        evacuation_node_name: String, CLUSTER;
        /// Whether the guest's file systems are frozen.
        fs_freeze_status: String, CLUSTER;
        /// The guest's operating system, as its agent says.
        guest_os_info as "guestOSInfo": Option<GuestOsInfo>, CLUSTER;
        /// The network cards as they are.
        interfaces: Vec<InterfaceStatus>, CLUSTER;
        /// The files booted from.
        kernel_boot_status: Option<KernelBootStatus>, CLUSTER;
        /// The launcher's image.
        launcher_container_image_version: String, CLUSTER;
        /// The machine's kind.
        machine: Option<MachineStatus>, CLUSTER;
        /// The guest's memory as it is.
        memory: Option<MemoryStatus>, CLUSTER;
        /// The volumes that move to other storage.
        migrated_volumes: Vec<MigratedVolume>, CLUSTER;
        /// How it would migrate.
        migration_method: String, CLUSTER;
        /// The migration in progress or last.
        migration_state: Option<MigrationState>, CLUSTER;
        /// How its data travels.
        migration_transport: String, CLUSTER;
        /// The node it runs on.
        node_name: String, CLUSTER;
        /// Where in its life it is.
        phase: String, CLUSTER;
        /// When it entered each phase of its life.
        phase_transition_timestamps: Vec<PhaseTransition>, CLUSTER;
        /// The pod's class of service.
        qos_class: String, CLUSTER;
        /// Why, in one word.
        reason: String, CLUSTER;
        /// The user it runs as.
        runtime_user: u64, CLUSTER;
        /// The SELinux context.
        selinux_context: String, CLUSTER;
        /// What its clock needs.
        topology_hints: Option<TopologyHints>, CLUSTER;
        /// The version of the VM it was made from.
        virtual_machine_revision_name: String, CLUSTER;
        /// The volumes as they are.
        volume_status: Vec<VolumeStatus>, CLUSTER;
    }

    /// A volume in a backup.
    pub struct BackupVolumeInfo {
        /// The volume.
        volume_name: String, CLUSTER;
    }

    /// A backup in progress.
    pub struct BackupStatus {
        /// What the backup says.
        backup_msg: String, CLUSTER;
        /// The backup's name.
        backup_name: String, CLUSTER;
        /// The point in time it is relative to.
        checkpoint_name: String, CLUSTER;
        /// Whether it is done.
        completed: bool, CLUSTER;
        /// When it ended.
        end_timestamp: Option<Time>, CLUSTER;
        /// Whether it failed.
        failed: bool, CLUSTER;
        /// Whether the guest was quiet.
        quiesce_status: String, CLUSTER;
        /// When it began.
        start_timestamp: Option<Time>, CLUSTER;
        /// The volumes concerned.
        volumes: Vec<BackupVolumeInfo>, CLUSTER;
    }

    /// Whether changed blocks are tracked.
    pub struct ChangedBlockTrackingStatus {
        /// The backup in progress.
        backup_status: Option<BackupStatus>, CLUSTER;
        /// Its state.
        state: String, CLUSTER;
    }

    /// Something that holds, or does not, at present.
    pub struct Condition {
        /// When it was last looked at.
        last_probe_time: Option<Time>, CLUSTER;
        /// When it last changed.
        last_transition_time: Option<Time>, CLUSTER;
        /// What is to be said about it.
        message: String, CLUSTER;
        /// Why, in one word.
        reason: String, CLUSTER;
        /// True, False or Unknown.
        status: String, CLUSTER;
        /// Its kind.
        r#type as "type": String, CLUSTER;
    }

    /// The arrangement of vCPUs as it is.
    pub struct CpuTopologyStatus {
        /// Cores in each socket.
        cores: u32, CLUSTER;
        /// Sockets.
        sockets: u32, CLUSTER;
        /// Threads in each core.
        threads: u32, CLUSTER;
    }

    /// The guest's operating system, as its agent says.
    pub struct GuestOsInfo {
        /// Its short name.
        id: String, CLUSTER;
        /// The kernel's release.
        kernel_release: String, CLUSTER;
        /// The kernel's version.
        kernel_version: String, CLUSTER;
        /// The machine's kind.
        machine: String, CLUSTER;
        /// The name.
        name: String, CLUSTER;
        /// Its name for people.
        pretty_name: String, CLUSTER;
        /// Its version.
        version: String, CLUSTER;
        /// Its version in short.
        version_id: String, CLUSTER;
    }

    /// A network card as it is.
    pub struct InterfaceStatus {
        /// Who says so.
        info_source: String, CLUSTER;
        /// The card's name in the guest.
        interface_name: String, CLUSTER;
        /// Its first address.
        ip_address: String, CLUSTER;
        /// All its addresses.
        ip_addresses: Vec<String>, CLUSTER;
        /// Whether the link is up.
        link_state: String, CLUSTER;
        /// Its MAC address.
        mac: String, CLUSTER;
        /// The name.
        name: String, CLUSTER;
        /// The card's name in the pod.
        pod_interface_name: String, CLUSTER;
        /// The number of its queues.
        queue_count: i64, CLUSTER;
    }

    /// A file that was booted from.
    pub struct BootFileInfo {
        /// The file's checksum.
        checksum: u32, CLUSTER;
    }

    /// The files booted from.
    pub struct KernelBootStatus {
        /// The initial RAM disk.
        initrd_info: Option<BootFileInfo>, CLUSTER;
        /// The kernel.
        kernel_info: Option<BootFileInfo>, CLUSTER;
    }

    /// The machine type as it is.
    pub struct MachineStatus {
        /// Its kind.
        r#type as "type": String, CLUSTER;
    }

    /// The guest's memory as it is.
    pub struct MemoryStatus {
        /// At boot.
        guest_at_boot: Option<Quantity>, CLUSTER;
        /// At present.
        guest_current: Option<Quantity>, CLUSTER;
        /// As wanted.
        guest_requested: Option<Quantity>, CLUSTER;
        /// Beside the guest's.
        memory_overhead: Option<Quantity>, CLUSTER;
    }

    /// A claim as it is.
    pub struct ClaimInfo {
        /// How it may be used.
        access_modes: Vec<String>, CLUSTER;
        /// Its size.
        capacity: BTreeMap<String, Option<Quantity>>, CLUSTER;
        /// The claim.
        claim_name: String, CLUSTER;
        /// The share of space taken by the file system.
        filesystem_overhead: String, CLUSTER;
        /// Whether all space is taken at once.
        preallocated: bool, CLUSTER;
        /// The size asked for.
        requests: BTreeMap<String, Option<Quantity>>, CLUSTER;
        /// File system or block device.
        volume_mode: String, CLUSTER;
    }

    /// When a phase of the VM's life was entered.
    pub struct PhaseTransition {
        /// Where in its life it is.
        phase: String, CLUSTER;
        /// When.
        phase_transition_timestamp: Option<Time>, CLUSTER;
    }

    /// What the guest's clock needs.
    pub struct TopologyHints {
        /// The frequency of the time stamp counter in Hz.
        tsc_frequency: i64, CLUSTER;
    }

    /// The helper pod of a volume added later.
    pub struct HotplugVolumeStatus {
        /// The helper pod.
        attach_pod_name: String, CLUSTER;
        /// Its unique id.
        attach_pod_uid as "attachPodUID": String, CLUSTER;
    }

    /// A memory dump.
    pub struct MemoryDumpStatus {
        /// The claim.
        claim_name: String, CLUSTER;
        /// When it ended.
        end_timestamp: Option<Time>, CLUSTER;
        /// When it began.
        start_timestamp: Option<Time>, CLUSTER;
        /// The file.
        target_file_name: String, CLUSTER;
    }

    /// A volume as it is.
    pub struct VolumeStatus {
        /// The image of a container disk.
        container_disk_volume: Option<BootFileInfo>, CLUSTER;
        /// The helper pod of a volume added later.
        hotplug_volume: Option<HotplugVolumeStatus>, CLUSTER;
        /// The last memory dump.
        memory_dump_volume: Option<MemoryDumpStatus>, CLUSTER;
        /// What is to be said about it.
        message: String, CLUSTER;
        /// The name.
        name: String, CLUSTER;
        /// The claim.
        persistent_volume_claim_info: Option<ClaimInfo>, CLUSTER;
        /// Where in its life it is.
        phase: String, CLUSTER;
        /// Why, in one word.
        reason: String, CLUSTER;
        /// The size in bytes.
        size: i64, CLUSTER;
        /// The disk's name in the guest.
        target: String, CLUSTER;
    }
}
