//! Documents to typed objects, by kind.

use super::{Findings, Reason, defaults, rules};
use crate::api::read::{Reader, Value};
use crate::api::{ConfigMap, ObjectMeta, Secret, VirtualMachine, VirtualMachineInstance};
use crate::source::{Document, Manifests};
use crate::support;

/// A typed object of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A virtual machine, and the instance that its template describes.
    VirtualMachine(Box<VirtualMachine>, Box<VirtualMachineInstance>),
    /// A virtual machine instance.
    VirtualMachineInstance(Box<VirtualMachineInstance>),
    /// A Secret.
    Secret(Box<Secret>),
    /// A ConfigMap.
    ConfigMap(Box<ConfigMap>),
    /// An object that a manifest may hold beside the machine and that is not looked into.
    Other,
    /// An object without a kind, or of a kind that has no business here.
    Unknown,
}

/// Kinds that manifests hold beside machines, not looked into.
const BYSTANDERS: &[&str] = &[
    "VirtualMachineInstanceReplicaSet",
    "VirtualMachineInstanceMigration",
    "VirtualMachineInstancePreset",
    "VirtualMachinePool",
    "VirtualMachineInstancetype",
    "VirtualMachineClusterInstancetype",
    "VirtualMachinePreference",
    "VirtualMachineClusterPreference",
    "DataVolume",
    "NetworkAttachmentDefinition",
    "PersistentVolumeClaim",
    "ServiceAccount",
    "MigrationPolicy",
    "PriorityClass",
    "ResourceClaimTemplate",
    "Namespace",
    "Service",
];

impl Object {
    /// Reads a document as an object of its kind; faults go to the findings.
    pub(super) fn read(document: &Document, findings: &mut Findings<'_>) -> Self {
        match document.kind() {
            "VirtualMachine" => Self::VirtualMachine(typed(document, findings), Box::default()),
            "VirtualMachineInstance" => Self::VirtualMachineInstance(typed(document, findings)),
            "Secret" => Self::Secret(typed(document, findings)),
            "ConfigMap" => Self::ConfigMap(typed(document, findings)),
            kind if BYSTANDERS.contains(&kind) => Self::Other,
            "" => {
                findings
                    .required("kind", "kind is missing: say what the object is, e.g. VirtualMachineInstance");
                Self::Unknown
            }
            kind => {
                let shown = crate::text::shorten(kind, 60);
                findings.put(
                    Reason::NotSupported,
                    "kind",
                    format!("{shown:?} is not a kind that belongs to a VM"),
                );
                Self::Unknown
            }
        }
    }

    /// Applies defaults and rules.
    pub(super) fn settle(
        &mut self,
        document: &Document,
        _manifests: &Manifests,
        findings: &mut Findings<'_>,
    ) {
        match self {
            Self::VirtualMachineInstance(vmi) => {
                support::check(document.root(), VirtualMachineInstance::KIND, findings);
                settle_machine(vmi, findings);
            }
            Self::VirtualMachine(vm, machine) => {
                support::check(document.root(), VirtualMachine::KIND, findings);
                findings.within("spec.template.");
                **machine = instance_of(vm);
                settle_machine(machine, findings);
                vm.spec.template.spec = machine.spec.clone();
                findings.within("");
            }
            _ => {}
        }
    }

    /// The machine to run, where the object describes one.
    pub fn machine(&self) -> Option<&VirtualMachineInstance> {
        match self {
            Self::VirtualMachine(_, machine) => Some(machine),
            Self::VirtualMachineInstance(vmi) => Some(vmi),
            _ => None,
        }
    }
}

fn typed<T: Value>(document: &Document, findings: &mut Findings<'_>) -> Box<T> {
    let mut reader = Reader::default();
    let object = Box::new(T::read(document.root(), &mut reader));
    findings.unread(reader.into_faults());
    object
}

fn settle_machine(vmi: &mut VirtualMachineInstance, findings: &mut Findings<'_>) {
    rules::before_defaults(vmi, findings);
    defaults::machine(vmi);
    rules::machine(vmi, findings);
}

/// The instance that a cluster would make of a virtual machine.
fn instance_of(vm: &VirtualMachine) -> VirtualMachineInstance {
    let template = &vm.spec.template;
    VirtualMachineInstance {
        api_version: vm.api_version.clone(),
        kind: "VirtualMachineInstance".into(),
        metadata: ObjectMeta {
            name: vm.metadata.name.clone(),
            namespace: vm.metadata.namespace.clone(),
            labels: template.metadata.labels.clone(),
            annotations: template.metadata.annotations.clone(),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}
