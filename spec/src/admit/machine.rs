//! The machine that an object describes: by itself, or by its template.

use super::{Findings, defaults, instancetype, preset, rules};
use crate::api::read::Value;
use crate::api::{
    LabelSelector, ObjectMeta, VirtualMachineInstance, VirtualMachineInstanceReplicaSet,
    VirtualMachineInstanceTemplateSpec, VirtualMachinePool, VirtualMachineSpec,
};
use crate::source::{Manifests, Node};
use crate::support;

/// Applies defaults and rules to a machine.
pub(super) fn settle(vmi: &mut VirtualMachineInstance, findings: &mut Findings<'_>) {
    if !rules::lists_are_short(&vmi.spec, findings) {
        return;
    }
    rules::before_defaults(vmi, findings);
    defaults::machine(vmi);
    rules::machine(vmi, findings);
}

/// Adds the parts of presets that match the machine's labels.
pub(super) fn presets(vmi: &mut VirtualMachineInstance, manifests: &Manifests, findings: &mut Findings<'_>) {
    preset::apply(vmi, manifests, findings);
}

/// The machine of a VirtualMachine's specification, which stands at `base` in the document.
pub(super) fn of_vm(
    spec: &mut VirtualMachineSpec,
    metadata: &ObjectMeta,
    base: &'static str,
    manifests: &Manifests,
    findings: &mut Findings<'_>,
) -> VirtualMachineInstance {
    findings.within(base);
    rules::vm(spec, findings);
    let mut machine = instance(metadata, &spec.template);
    let has_more = instancetype::apply(spec, &mut machine, manifests, findings);
    findings.within(if base.is_empty() {
        "spec.template."
    } else {
        "spec.virtualMachineTemplate.spec.template."
    });
    if has_more {
        what_came_in_can_be_had(&machine, findings);
    }
    settle(&mut machine, findings);
    findings.within("");
    // With its sizes written out beside its instancetype the object would contradict itself.
    if spec.instancetype.is_none() {
        spec.template.spec = machine.spec.clone();
    }
    machine
}

/// One machine of a replica set.
pub(super) fn of_set(
    set: &mut VirtualMachineInstanceReplicaSet,
    findings: &mut Findings<'_>,
) -> VirtualMachineInstance {
    rules::selector_matches(set.spec.selector.as_ref(), &set.spec.template.metadata, findings);
    let mut machine = instance(&set.metadata, &set.spec.template);
    findings.within("spec.template.");
    settle(&mut machine, findings);
    findings.within("");
    set.spec.template.spec = machine.spec.clone();
    machine
}

/// One machine of a pool.
pub(super) fn of_pool(
    pool: &mut VirtualMachinePool,
    manifests: &Manifests,
    findings: &mut Findings<'_>,
) -> VirtualMachineInstance {
    let template = &mut pool.spec.virtual_machine_template;
    let selector: Option<&LabelSelector> = pool.spec.selector.as_ref();
    rules::selector_matches(selector, &template.metadata, findings);
    of_vm(&mut template.spec, &pool.metadata, "spec.virtualMachineTemplate.", manifests, findings)
}

/// The instance that a cluster would make of a template.
fn instance(metadata: &ObjectMeta, template: &VirtualMachineInstanceTemplateSpec) -> VirtualMachineInstance {
    VirtualMachineInstance {
        api_version: "kubevirt.io/v1".into(),
        kind: "VirtualMachineInstance".into(),
        metadata: ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            labels: template.metadata.labels.clone(),
            annotations: template.metadata.annotations.clone(),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Reports what an instancetype or preference brought in and kubevmm does not do, as if the manifest had said it.
fn what_came_in_can_be_had(machine: &VirtualMachineInstance, findings: &mut Findings<'_>) {
    let tree = serde_json::from_value::<Node>(machine.to_json());
    // A machine always becomes a tree.
    support::check(&tree.unwrap_or_default(), VirtualMachineInstance::KIND, findings);
}
