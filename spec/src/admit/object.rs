//! Documents to typed objects, by kind.

use super::{Findings, Reason, kinds, machine, rules};
use crate::api::read::{Reader, Value};
use crate::api::{
    ConfigMap, DataVolume, MigrationPolicy, NetworkAttachmentDefinition, PersistentVolumeClaim, Secret,
    ServiceAccount, VirtualMachine, VirtualMachineInstance, VirtualMachineInstanceMigration,
    VirtualMachineInstancePreset, VirtualMachineInstanceReplicaSet, VirtualMachineInstancetype,
    VirtualMachinePool, VirtualMachinePreference,
};
use crate::source::{Document, Manifests};
use crate::support;

/// A typed object of a manifest. Kinds that hold machines come with the instance to run.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A virtual machine, and the instance that its template describes.
    VirtualMachine(Box<VirtualMachine>, Box<VirtualMachineInstance>),
    /// A virtual machine instance.
    VirtualMachineInstance(Box<VirtualMachineInstance>),
    /// A number of equal machines, and one of them.
    ReplicaSet(Box<VirtualMachineInstanceReplicaSet>, Box<VirtualMachineInstance>),
    /// A number of machines, and one of them.
    Pool(Box<VirtualMachinePool>, Box<VirtualMachineInstance>),
    /// An order to move a machine to another node.
    Migration(Box<VirtualMachineInstanceMigration>),
    /// How machines with certain labels are moved.
    MigrationPolicy(Box<MigrationPolicy>),
    /// Parts that are added to machines with certain labels.
    Preset(Box<VirtualMachineInstancePreset>),
    /// The size of a machine.
    Instancetype(Box<VirtualMachineInstancetype>),
    /// What fills the things a machine leaves open.
    Preference(Box<VirtualMachinePreference>),
    /// A claim that is filled with data.
    DataVolume(Box<DataVolume>),
    /// A claim to storage.
    PersistentVolumeClaim(Box<PersistentVolumeClaim>),
    /// A network that machines can be attached to.
    NetworkAttachmentDefinition(Box<NetworkAttachmentDefinition>),
    /// A Secret.
    Secret(Box<Secret>),
    /// A ConfigMap.
    ConfigMap(Box<ConfigMap>),
    /// An identity that pods act under.
    ServiceAccount(Box<ServiceAccount>),
    /// An object that a manifest may hold beside the machine and that is not looked into.
    Bystander,
    /// An object without a kind, or of a kind that has no business here.
    Unknown,
}

impl Object {
    /// Reads a document as an object of its kind, with defaults and rules applied; what is wrong goes to the findings.
    pub(super) fn read(document: &Document, manifests: &Manifests, findings: &mut Findings<'_>) -> Self {
        kinds::version_is_known(document, findings);
        kinds::name_is_taken(document, manifests, findings);
        match document.kind() {
            "VirtualMachine" => {
                let mut vm = typed::<VirtualMachine>(document, findings);
                let instance = machine::of_vm(&mut vm.spec, &vm.metadata, "", manifests, findings);
                Self::VirtualMachine(vm, Box::new(instance))
            }
            "VirtualMachineInstance" => {
                let mut vmi = typed::<VirtualMachineInstance>(document, findings);
                machine::presets(&mut vmi, manifests, findings);
                machine::settle(&mut vmi, findings);
                Self::VirtualMachineInstance(vmi)
            }
            "VirtualMachineInstanceReplicaSet" => {
                let mut set = typed::<VirtualMachineInstanceReplicaSet>(document, findings);
                let instance = machine::of_set(&mut set, findings);
                Self::ReplicaSet(set, Box::new(instance))
            }
            "VirtualMachinePool" => {
                let mut pool = typed::<VirtualMachinePool>(document, findings);
                let instance = machine::of_pool(&mut pool, manifests, findings);
                Self::Pool(pool, Box::new(instance))
            }
            "VirtualMachineInstanceMigration" => {
                let migration = typed::<VirtualMachineInstanceMigration>(document, findings);
                kinds::migration_makes_sense(&migration, findings);
                Self::Migration(migration)
            }
            "MigrationPolicy" => {
                let policy: Box<MigrationPolicy> = typed(document, findings);
                kinds::policy_makes_sense(&policy, findings);
                Self::MigrationPolicy(policy)
            }
            "VirtualMachineInstancePreset" => {
                let preset: Box<VirtualMachineInstancePreset> = part(document, findings);
                kinds::preset_has_parts(&preset, findings);
                Self::Preset(preset)
            }
            "VirtualMachineInstancetype" | "VirtualMachineClusterInstancetype" => {
                let instancetype: Box<VirtualMachineInstancetype> = part(document, findings);
                rules::instancetype(&instancetype.spec, findings);
                Self::Instancetype(instancetype)
            }
            "VirtualMachinePreference" | "VirtualMachineClusterPreference" => {
                let preference: Box<VirtualMachinePreference> = part(document, findings);
                rules::preference(&preference.spec, findings);
                Self::Preference(preference)
            }
            "DataVolume" => {
                let volume: Box<DataVolume> = typed(document, findings);
                rules::data_volume(&volume.spec, findings);
                Self::DataVolume(volume)
            }
            "PersistentVolumeClaim" => {
                let claim: Box<PersistentVolumeClaim> = typed(document, findings);
                rules::claim(&claim.spec, findings);
                Self::PersistentVolumeClaim(claim)
            }
            "NetworkAttachmentDefinition" => {
                let network: Box<NetworkAttachmentDefinition> = typed(document, findings);
                rules::network(&network, findings);
                Self::NetworkAttachmentDefinition(network)
            }
            "Secret" => {
                let secret: Box<Secret> = typed(document, findings);
                rules::secret(&secret, findings);
                Self::Secret(secret)
            }
            "ConfigMap" => {
                let map: Box<ConfigMap> = typed(document, findings);
                rules::config_map(&map, findings);
                Self::ConfigMap(map)
            }
            "ServiceAccount" => Self::ServiceAccount(typed(document, findings)),
            kind => kinds::bystander(kind, findings),
        }
    }

    /// The machine to run, where the object describes one.
    pub fn machine(&self) -> Option<&VirtualMachineInstance> {
        match self {
            Self::VirtualMachine(_, machine) | Self::ReplicaSet(_, machine) | Self::Pool(_, machine) => {
                Some(machine)
            }
            Self::VirtualMachineInstance(vmi) => Some(vmi),
            _ => None,
        }
    }

    /// The object with its defaults as a JSON value, for people and programs to read; `null` for objects that are not
    /// looked into.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::VirtualMachine(object, _) => object.to_json(),
            Self::VirtualMachineInstance(object) => object.to_json(),
            Self::ReplicaSet(object, _) => object.to_json(),
            Self::Pool(object, _) => object.to_json(),
            Self::Migration(object) => object.to_json(),
            Self::MigrationPolicy(object) => object.to_json(),
            Self::Preset(object) => object.to_json(),
            Self::Instancetype(object) => object.to_json(),
            Self::Preference(object) => object.to_json(),
            Self::DataVolume(object) => object.to_json(),
            Self::PersistentVolumeClaim(object) => object.to_json(),
            Self::NetworkAttachmentDefinition(object) => object.to_json(),
            Self::Secret(object) => object.to_json(),
            Self::ConfigMap(object) => object.to_json(),
            Self::ServiceAccount(object) => object.to_json(),
            Self::Bystander | Self::Unknown => serde_json::Value::Null,
        }
    }
}

/// Reads a document as one type, and reports what of it has no effect.
fn typed<T: Value>(document: &Document, findings: &mut Findings<'_>) -> Box<T> {
    let object = part(document, findings);
    support::check(document.root(), T::KIND, findings);
    object
}

/// Reads a document that becomes part of machines; what of it has no effect is reported where it does.
fn part<T: Value>(document: &Document, findings: &mut Findings<'_>) -> Box<T> {
    let mut reader = Reader::default();
    let object = Box::new(T::read(document.root(), &mut reader));
    findings.unread(reader.into_faults());
    support::check_words(document.root(), T::KIND, findings);
    kinds::name_is_a_name(document, findings);
    object
}

/// Reads a document as one type without a word, for objects that another refers to; they get verdicts of their own.
pub(super) fn quietly<T: Value>(document: &Document) -> T {
    T::read(document.root(), &mut Reader::default())
}

/// A kind that is none.
pub(super) fn refuse(reason: Reason, message: String, findings: &mut Findings<'_>) -> Object {
    findings.put(reason, "kind", message);
    Object::Unknown
}
