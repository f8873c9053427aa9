//! The status of migrations.

use std::collections::BTreeMap;

use super::{ClaimInfo, Quantity, Time};

object! {
    /// A volume that moves to other storage.
    pub struct MigratedVolume {
        /// Where it moves to.
        destination_pvc_info as "destinationPVCInfo": Option<ClaimInfo>, CLUSTER;
        /// Where it comes from.
        source_pvc_info as "sourcePVCInfo": Option<ClaimInfo>, CLUSTER;
        /// The volume.
        volume_name: String, CLUSTER;
    }

    /// How the last pause of a migration is stretched.
    pub struct DowntimeTuning {
        /// Seconds between steps.
        cooldown_seconds: i64, CLUSTER;
        /// The first pause in milliseconds.
        initial_ms: i64, CLUSTER;
        /// The round after which it begins.
        start_after_iteration: i64, CLUSTER;
        /// The number of steps.
        steps: i64, CLUSTER;
    }

    /// How a standstill of a migration is noticed.
    pub struct StallDetector {
        /// A factor on the time allowed.
        completion_timeout_factor: Option<Quantity>, CLUSTER;
        /// The weight of the latest measurement.
        ewma_alpha: Option<Quantity>, CLUSTER;
        /// How patience wears off.
        patience_window_decay_factor: Option<Quantity>, CLUSTER;
        /// When copying ahead is thought possible.
        precopy_possible_factor: Option<Quantity>, CLUSTER;
        /// Whether to wait for a quiet moment.
        search_local_minima: bool, CLUSTER;
        /// The margin that counts as progress.
        stall_margin: i64, CLUSTER;
        /// Seconds without progress.
        stall_progress_timeout: i64, CLUSTER;
        /// Seconds for the last step.
        switchover_timeout: i64, CLUSTER;
    }

    /// Options of migrations on trial.
    pub struct ExperimentalMigrationOptions {
        /// How memory is compressed.
        compression: String, CLUSTER;
        /// How the last pause is stretched.
        downtime_tuning: Option<DowntimeTuning>, CLUSTER;
        /// How a standstill is noticed.
        stall_detector: Option<StallDetector>, CLUSTER;
    }

    /// The options of a migration.
    pub struct MigrationConfiguration {
        /// Slow the guest down when needed.
        allow_auto_converge: bool, CLUSTER;
        /// Move the guest before its memory when needed.
        allow_post_copy: bool, CLUSTER;
        /// Pause the guest when needed.
        allow_workload_disruption: bool, CLUSTER;
        /// The most bytes a second.
        bandwidth_per_migration: Option<Quantity>, CLUSTER;
        /// Seconds for each GiB.
        completion_timeout_per_gi_b: i64, CLUSTER;
        /// Send in the clear.
        disable_tls as "disableTLS": bool, CLUSTER;
        /// Options on trial.
        experimental: Option<ExperimentalMigrationOptions>, CLUSTER;
        /// Keep the SELinux level.
        match_se_linux_level_on_migration as "matchSELinuxLevelOnMigration": bool, CLUSTER;
        /// The longest pause in milliseconds.
        max_downtime_ms: u64, CLUSTER;
        /// The network it uses.
        network: String, CLUSTER;
        /// The taint that asks for it.
        node_drain_taint_key: String, CLUSTER;
        /// How many at once in the cluster.
        parallel_migrations_per_cluster: u32, CLUSTER;
        /// How many at once from a node.
        parallel_outbound_migrations_per_node: u32, CLUSTER;
        /// Seconds without progress.
        progress_timeout: i64, CLUSTER;
        /// Migrate even when it is unsafe.
        unsafe_migration_override: bool, CLUSTER;
        /// Seconds for helper volumes.
        utility_volumes_timeout: i64, CLUSTER;
    }

    /// What the source of a migration says.
    pub struct MigrationSourceState {
        /// The name of the domain.
        domain_name: String, CLUSTER;
        /// The name space of the domain.
        domain_namespace: String, CLUSTER;
        /// Its unique id.
        migration_uid as "migrationUID": String, CLUSTER;
        /// The node.
        node: String, CLUSTER;
        /// Labels that the node has.
        node_selectors: BTreeMap<String, String>, CLUSTER;
        /// The claim with its state.
        persistent_state_pvc_name as "persistentStatePVCName": String, CLUSTER;
        /// The pod.
        pod: String, CLUSTER;
        /// The SELinux context.
        selinux_context: String, CLUSTER;
        /// The address it is reached at.
        sync_address: String, CLUSTER;
        /// The VM's unique id.
        virtual_machine_instance_uid as "virtualMachineInstanceUID": String, CLUSTER;
    }

    /// What the target of a migration says.
    pub struct MigrationTargetState {
        /// The helper pod's unique id.
        attachment_pod_uid as "attachmentPodUID": String, CLUSTER;
        /// The host CPUs.
        cpu_set: Vec<i64>, CLUSTER;
        /// The ports.
        direct_migration_node_ports: BTreeMap<String, i64>, CLUSTER;
        /// Whether it has been seen.
        domain_detected: bool, CLUSTER;
        /// The name of the domain.
        domain_name: String, CLUSTER;
        /// The name space of the domain.
        domain_namespace: String, CLUSTER;
        /// When it was ready.
        domain_ready_timestamp: Option<Time>, CLUSTER;
        /// Its unique id.
        migration_uid as "migrationUID": String, CLUSTER;
        /// The node.
        node: String, CLUSTER;
        /// The node's address.
        node_address: String, CLUSTER;
        /// The node's topology.
        node_topology: String, CLUSTER;
        /// The claim with its state.
        persistent_state_pvc_name as "persistentStatePVCName": String, CLUSTER;
        /// The pod.
        pod: String, CLUSTER;
        /// The SELinux context.
        selinux_context: String, CLUSTER;
        /// The address it is reached at.
        sync_address: String, CLUSTER;
        /// The VM's unique id.
        virtual_machine_instance_uid as "virtualMachineInstanceUID": String, CLUSTER;
    }

    /// A migration.
    pub struct MigrationState {
        /// Whether it shall be broken off.
        abort_requested: bool, CLUSTER;
        /// How breaking it off went.
        abort_status: String, CLUSTER;
        /// Whether it is done.
        completed: bool, CLUSTER;
        /// When it ended.
        end_timestamp: Option<Time>, CLUSTER;
        /// Whether it failed.
        failed: bool, CLUSTER;
        /// Why it failed.
        failure_reason: String, CLUSTER;
        /// The options it runs with.
        migration_configuration: Option<MigrationConfiguration>, CLUSTER;
        /// The kind of network it uses.
        migration_network_type: String, CLUSTER;
        /// The policy it follows.
        migration_policy_name: String, CLUSTER;
        /// Its unique id.
        migration_uid: String, CLUSTER;
        /// How it went.
        mode: String, CLUSTER;
        /// The node it leaves.
        source_node: String, CLUSTER;
        /// The claim with its state, at the source.
        source_persistent_state_pvc_name as "sourcePersistentStatePVCName": String, CLUSTER;
        /// The pod it leaves.
        source_pod: String, CLUSTER;
        /// What the source says.
        source_state: Option<MigrationSourceState>, CLUSTER;
        /// When it began.
        start_timestamp: Option<Time>, CLUSTER;
        /// The helper pod's unique id.
        target_attachment_pod_uid as "targetAttachmentPodUID": String, CLUSTER;
        /// The host CPUs at the target.
        target_cpu_set as "targetCPUSet": Vec<i64>, CLUSTER;
        /// The ports at the target.
        target_direct_migration_node_ports: BTreeMap<String, i64>, CLUSTER;
        /// The memory beside the guest's at the target.
        target_memory_overhead: Option<Quantity>, CLUSTER;
        /// The node it goes to.
        target_node: String, CLUSTER;
        /// The address of that node.
        target_node_address: String, CLUSTER;
        /// Whether it has been seen there.
        target_node_domain_detected: bool, CLUSTER;
        /// When it was ready there.
        target_node_domain_ready_timestamp: Option<Time>, CLUSTER;
        /// The node's topology.
        target_node_topology: String, CLUSTER;
        /// The claim with its state, at the target.
        target_persistent_state_pvc_name as "targetPersistentStatePVCName": String, CLUSTER;
        /// The pod it goes to.
        target_pod: String, CLUSTER;
        /// What the target says.
        target_state: Option<MigrationTargetState>, CLUSTER;
    }
}
