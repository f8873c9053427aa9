//! Orders to move machines.

use std::collections::BTreeMap;

use super::{Condition, MigrationState, ObjectMeta, Time};

object! {
    /// An order to move a machine.
    pub struct VirtualMachineInstanceMigration {
        /// `kubevirt.io/v1`.
        api_version: String, HONOURED;
        /// `VirtualMachineInstanceMigration`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// Which machine, and where to.
        spec: VirtualMachineInstanceMigrationSpec [required], HONOURED;
        /// How far it is: written by whoever carries it out, and ignored on input.
        status: Option<VirtualMachineInstanceMigrationStatus>, CLUSTER;
    }

    /// Which machine is moved, and where to.
    pub struct VirtualMachineInstanceMigrationSpec {
        /// The machine, in the same name space.
        vmi_name: String, HONOURED;
        /// Labels that the other node must have.
        added_node_selector: BTreeMap<String, String>, CLUSTER;
        /// Where it is sent to.
        send_to: Option<MigrationSendTo>, HONOURED;
        /// That it is received here.
        receive: Option<MigrationReceive>, HONOURED;
        /// How urgent it is among those that wait for their turn.
        priority: Option<MigrationPriority> = "least urgent", CLUSTER;
    }

    /// Where a machine is sent to.
    pub struct MigrationSendTo {
        /// What both sides know the migration by.
        migration_id as "migrationID": String [required], HONOURED;
        /// Where the destination listens: `unix:PATH`, `tcp://HOST:PORT` or `HOST:PORT`.
        connect_url as "connectURL": String, HONOURED;
    }

    /// That a machine is received.
    pub struct MigrationReceive {
        /// What both sides know the migration by.
        migration_id as "migrationID": String [required], HONOURED;
    }

    /// How far a migration is.
    pub struct VirtualMachineInstanceMigrationStatus {
        /// What holds of it at present.
        conditions: Vec<Condition>, CLUSTER;
        /// The migration as the machine's own status has it.
        migration_state: Option<MigrationState>, CLUSTER;
        /// Pending, Scheduling, Scheduled, PreparingTarget, TargetReady, Running, Succeeded or Failed.
        phase: String, CLUSTER;
        /// When it entered each phase.
        phase_transition_timestamps: Vec<MigrationPhaseTransition>, CLUSTER;
        /// Where the destination can be reached.
        synchronization_addresses: Vec<String>, CLUSTER;
    }

    /// When a migration entered a phase.
    pub struct MigrationPhaseTransition {
        /// How far it was.
        phase: String, CLUSTER;
        /// When.
        phase_transition_timestamp: Option<Time>, CLUSTER;
    }
}

choice! {
    /// How urgent a migration is.
    pub enum MigrationPriority [pointer] {
        /// A node is being emptied, or KubeVirt updated.
        SystemCritical = "system-critical",
        /// Somebody waits for it.
        UserTriggered = "user-triggered",
        /// There is time.
        SystemMaintenance = "system-maintenance",
    }
}

impl VirtualMachineInstanceMigration {
    /// The name space; `default` when none is given.
    pub fn namespace(&self) -> &str {
        if self.metadata.namespace.is_empty() { "default" } else { &self.metadata.namespace }
    }
}

impl VirtualMachineInstanceMigrationSpec {
    /// What both sides know the migration by, if it has to be the same; empty otherwise.
    pub fn migration_id(&self) -> &str {
        let sent = self.send_to.as_ref().map(|to| to.migration_id.as_str());
        sent.or(self.receive.as_ref().map(|from| from.migration_id.as_str())).unwrap_or_default()
    }
}
