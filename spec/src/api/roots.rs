//! The kinds of the API, with the short names that `kubectl` and people use.

use super::kind::Kind;
use super::read::Value;
use super::{
    ConfigMap, DataVolume, MigrationPolicy, NetworkAttachmentDefinition, PersistentVolumeClaim, Secret,
    ServiceAccount, VirtualMachine, VirtualMachineInstance, VirtualMachineInstanceMigration,
    VirtualMachineInstancePreset, VirtualMachineInstanceReplicaSet, VirtualMachineInstancetype,
    VirtualMachinePool, VirtualMachinePreference,
};

/// A kind of the API.
#[derive(Debug)]
pub struct Root {
    /// The kind.
    pub kind: &'static str,
    /// Other names for it in field paths.
    pub aliases: &'static [&'static str],
    /// Its type.
    pub object: Kind,
}

/// All kinds, machines first.
pub const ROOTS: &[Root] = &[
    Root {
        kind: "VirtualMachineInstance",
        aliases: &["vmi", "vmis", "virtualmachineinstances"],
        object: VirtualMachineInstance::KIND,
    },
    Root { kind: "VirtualMachine", aliases: &["vm", "vms", "virtualmachines"], object: VirtualMachine::KIND },
    Root {
        kind: "VirtualMachineInstanceReplicaSet",
        aliases: &["vmirs", "replicaset", "rs"],
        object: VirtualMachineInstanceReplicaSet::KIND,
    },
    Root { kind: "VirtualMachinePool", aliases: &["vmpool", "pool"], object: VirtualMachinePool::KIND },
    Root {
        kind: "VirtualMachineInstanceMigration",
        aliases: &["vmim", "migration"],
        object: VirtualMachineInstanceMigration::KIND,
    },
    Root { kind: "MigrationPolicy", aliases: &["migrationpolicies"], object: MigrationPolicy::KIND },
    Root {
        kind: "VirtualMachineInstancePreset",
        aliases: &["vmipreset", "preset"],
        object: VirtualMachineInstancePreset::KIND,
    },
    Root {
        kind: "VirtualMachineInstancetype",
        aliases: &["vminstancetype", "instancetype", "it"],
        object: VirtualMachineInstancetype::KIND,
    },
    Root {
        kind: "VirtualMachineClusterInstancetype",
        aliases: &["vmclusterinstancetype", "clusterinstancetype"],
        object: VirtualMachineInstancetype::KIND,
    },
    Root {
        kind: "VirtualMachinePreference",
        aliases: &["vmpref", "preference", "pref"],
        object: VirtualMachinePreference::KIND,
    },
    Root {
        kind: "VirtualMachineClusterPreference",
        aliases: &["vmclusterpref", "clusterpreference"],
        object: VirtualMachinePreference::KIND,
    },
    Root { kind: "DataVolume", aliases: &["dv", "dvs"], object: DataVolume::KIND },
    Root {
        kind: "NetworkAttachmentDefinition",
        aliases: &["nad", "net-attach-def"],
        object: NetworkAttachmentDefinition::KIND,
    },
    Root { kind: "PersistentVolumeClaim", aliases: &["pvc", "pvcs"], object: PersistentVolumeClaim::KIND },
    Root { kind: "Secret", aliases: &[], object: Secret::KIND },
    Root { kind: "ConfigMap", aliases: &["cm"], object: ConfigMap::KIND },
    Root { kind: "ServiceAccount", aliases: &["sa"], object: ServiceAccount::KIND },
];

impl Root {
    /// The kind of this name or alias, whatever the case of its letters.
    pub fn find(name: &str) -> Option<&'static Self> {
        let is_called = |root: &&Self| {
            root.kind.eq_ignore_ascii_case(name)
                || root.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
        };
        ROOTS.iter().find(is_called)
    }
}
