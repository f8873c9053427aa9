//! Kinds and their API versions.

use std::ops::RangeInclusive;

use super::object::refuse;
use super::{Findings, Object, Reason};
use crate::api::{MigrationPolicy, VirtualMachineInstanceMigration, VirtualMachineInstancePreset};
use crate::formats;
use crate::source::{Document, Manifests};

/// The kinds that are looked into: name, API group, versions.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("VirtualMachine", "kubevirt.io", &["v1", "v1alpha3"]),
    ("VirtualMachineInstance", "kubevirt.io", &["v1", "v1alpha3"]),
    ("VirtualMachineInstanceReplicaSet", "kubevirt.io", &["v1", "v1alpha3"]),
    (MIGRATION, "kubevirt.io", &["v1", "v1alpha3"]),
    ("MigrationPolicy", "migrations.kubevirt.io", &["v1alpha1"]),
    ("VirtualMachineInstancePreset", "kubevirt.io", &["v1", "v1alpha3"]),
    ("VirtualMachinePool", "pool.kubevirt.io", &["v1beta1", "v1alpha1"]),
    ("VirtualMachineInstancetype", "instancetype.kubevirt.io", INSTANCETYPES),
    ("VirtualMachineClusterInstancetype", "instancetype.kubevirt.io", INSTANCETYPES),
    ("VirtualMachinePreference", "instancetype.kubevirt.io", INSTANCETYPES),
    ("VirtualMachineClusterPreference", "instancetype.kubevirt.io", INSTANCETYPES),
    ("DataVolume", "cdi.kubevirt.io", &["v1beta1", "v1alpha1"]),
    ("NetworkAttachmentDefinition", "k8s.cni.cncf.io", &["v1"]),
    ("PersistentVolumeClaim", "", &["v1"]),
    ("Secret", "", &["v1"]),
    ("ConfigMap", "", &["v1"]),
    ("ServiceAccount", "", &["v1"]),
];

const INSTANCETYPES: &[&str] = &["v1", "v1beta1", "v1alpha2", "v1alpha1"];

/// The kind whose objects are given names: they are made by the dozen, and nobody refers to them.
const MIGRATION: &str = "VirtualMachineInstanceMigration";
const GENERATE_NAME: &str = "metadata.generateName";

/// How long a policy may let guests stand still, in milliseconds (KubeVirt: `MigrationPolicySpec`).
const MAX_DOWNTIME_MS: RangeInclusive<u64> = 1..=2_000_000;

/// Kinds that stand beside machines in manifests and are not looked into.
const BYSTANDERS: &[&str] = &[
    "PriorityClass",
    "ResourceClaim",
    "ResourceClaimTemplate",
    "StorageClass",
    "PersistentVolume",
    "Namespace",
    "Service",
    "NetworkPolicy",
    "Role",
    "RoleBinding",
    "DataSource",
    "DataImportCron",
    "VirtualMachineSnapshot",
    "VirtualMachineRestore",
    "VirtualMachineExport",
    "VirtualMachineClone",
];

/// The names of all kinds that are looked into.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _, _)| *name)
}

/// The API versions of a kind, the usual one first.
pub(crate) fn versions(kind: &str) -> Vec<String> {
    let Some((_, group, versions)) = KINDS.iter().find(|(name, _, _)| *name == kind) else {
        return Vec::new();
    };
    let full =
        |version: &&str| if group.is_empty() { (*version).into() } else { format!("{group}/{version}") };
    versions.iter().map(full).collect()
}

/// The document names a version of its kind's API.
pub(super) fn version_is_known(document: &Document, findings: &mut Findings<'_>) {
    let known = versions(document.kind());
    let Some(usual) = known.first() else { return };
    match document.api_version() {
        "" => findings.required("apiVersion", format!("is missing: give {usual}")),
        version if !known.iter().any(|known| known == version) => {
            let shown = crate::text::shorten(version, 60);
            let message = format!("{shown:?} is not an API version of {}: use {usual}", document.kind());
            findings.put(Reason::NotSupported, "apiVersion", message);
        }
        _ => {}
    }
}

/// The object has a name, and name and name space can stand in paths of files.
pub(super) fn name_is_a_name(document: &Document, findings: &mut Findings<'_>) {
    match (document.name(), beginning(document)) {
        ("", Some(beginning)) if document.kind() == MIGRATION => {
            // Kubernetes looks at it as if it went on with a letter.
            if let Some(fault) = formats::subdomain(&format!("{beginning}x")) {
                findings.invalid(GENERATE_NAME, fault);
            }
        }
        ("", Some(_)) => findings.cannot("metadata.name", "names are not generated: give one"),
        ("", None) => findings.required("metadata.name", "is missing: give the object a name"),
        (name, _) => {
            if let Some(fault) = formats::subdomain(name) {
                findings.invalid("metadata.name", fault);
            }
        }
    }
    let namespace = document.namespace();
    if let Some(fault) = formats::label(namespace).filter(|_| !namespace.is_empty()) {
        findings.invalid("metadata.namespace", fault);
    }
}

/// What a name is to begin with that is to be made.
fn beginning(document: &Document) -> Option<&str> {
    let beginning = document.root().get("metadata")?.get("generateName")?.text()?;
    Some(beginning).filter(|beginning| !beginning.is_empty())
}

/// Where two objects have the same name, the first is the one that others find.
pub(super) fn name_is_taken(document: &Document, manifests: &Manifests, findings: &mut Findings<'_>) {
    let first = manifests.find(document.kind(), document.namespace(), document.name());
    let other = first.filter(|first| !std::ptr::eq(*first, document) && !document.name().is_empty());
    if let Some(other) = other {
        let place = other.locate("metadata.name");
        let message =
            format!("there is another {} of this name at {place}: that one counts", document.kind());
        findings.warn("metadata.name", message);
    }
}

/// A kind that is not looked into, or none at all.
pub(super) fn bystander(kind: &str, findings: &mut Findings<'_>) -> Object {
    if BYSTANDERS.contains(&kind) {
        return Object::Bystander;
    }
    if kind.is_empty() {
        let message = "is missing: say what the object is, e.g. VirtualMachineInstance".to_owned();
        return refuse(Reason::Required, message, findings);
    }
    let shown = crate::text::shorten(kind, 60);
    let message = match crate::api::nearest(kind, names()) {
        Some(name) => format!("unknown kind {shown:?}: did you mean {name:?}?"),
        None => format!("{shown:?} is not a kind that belongs to a machine"),
    };
    refuse(Reason::NotSupported, message, findings)
}

/// KubeVirt: `pkg/virt-api/webhooks/validating-webhook/admitters/migration-create-admitter.go`.
pub(super) fn migration_makes_sense(
    migration: &VirtualMachineInstanceMigration,
    findings: &mut Findings<'_>,
) {
    if migration.metadata.name.is_empty() {
        findings.has_effect(GENERATE_NAME);
    }
    let spec = &migration.spec;
    if spec.vmi_name.is_empty() {
        findings.required("spec.vmiName", "give the name of the machine");
    }
    if let (Some(to), Some(from)) = (&spec.send_to, &spec.receive)
        && to.migration_id != from.migration_id
    {
        findings.invalid(
            "spec.receive.migrationID",
            "is another one than that of sendTo: both sides know a migration by one ID",
        );
    }
}

/// KubeVirt: `pkg/virt-api/webhooks/validating-webhook/admitters/migrationpolicy-admitter.go`, and the limits of its CRD.
pub(super) fn policy_makes_sense(policy: &MigrationPolicy, findings: &mut Findings<'_>) {
    if policy.spec.completion_timeout_per_gi_b.is_some_and(|seconds| seconds < 0) {
        findings.invalid("spec.completionTimeoutPerGiB", "must not be negative");
    }
    if policy.spec.bandwidth_per_migration.as_ref().is_some_and(|bandwidth| bandwidth.bytes().is_none()) {
        findings.invalid("spec.bandwidthPerMigration", "must not be negative");
    }
    if policy.spec.max_downtime_ms.is_some_and(|time| !MAX_DOWNTIME_MS.contains(&time)) {
        findings.invalid("spec.maxDowntimeMs", "is to be from 1 to 2000000 milliseconds");
    }
}

pub(super) fn preset_has_parts(preset: &VirtualMachineInstancePreset, findings: &mut Findings<'_>) {
    if preset.spec.domain.is_none() {
        findings.required("spec.domain", "is missing: give the parts that machines get");
    }
}
