//! VirtualMachine: run strategy, DataVolume templates; and the selectors of sets.

use super::super::{Findings, Reason};
use crate::api::{
    DataVolumeOrigin, DataVolumeTemplateSpec, LabelSelector, ObjectMeta, RunStrategy, VirtualMachineSpec,
    VolumeSource,
};
use crate::labels;

/// Checks what a VirtualMachine says beside its machine.
pub(in super::super) fn vm(spec: &VirtualMachineSpec, findings: &mut Findings<'_>) {
    run_strategy_is_one(spec, findings);
    matchers_name_something(spec, findings);
    growing_memory_has_a_size(spec, findings);
    for (index, template) in spec.data_volume_templates.iter().enumerate() {
        data_volume_is_whole(index, template, findings);
        data_volume_is_used(index, template, spec, findings);
    }
}

fn run_strategy_is_one(spec: &VirtualMachineSpec, findings: &mut Findings<'_>) {
    if spec.running.is_some() && spec.run_strategy.is_some() {
        findings.invalid("spec.running", "running and runStrategy exclude each other: keep runStrategy");
    }
    if let Some(RunStrategy::Other(word)) = &spec.run_strategy {
        let known = RunStrategy::WORDS.join(", ");
        findings.invalid("spec.runStrategy", format!("{word:?} is not a run strategy: use one of {known}"));
    }
}

/// An instancetype or preference is named, or to be told from a volume.
fn matchers_name_something(spec: &VirtualMachineSpec, findings: &mut Findings<'_>) {
    let instancetype = spec.instancetype.as_ref().map(|matcher| {
        (&matcher.name, &matcher.infer_from_volume, &matcher.kind, "Instancetype", "spec.instancetype")
    });
    let preference = spec.preference.as_ref().map(|matcher| {
        (&matcher.name, &matcher.infer_from_volume, &matcher.kind, "Preference", "spec.preference")
    });
    for (name, volume, kind, what, path) in [instancetype, preference].into_iter().flatten() {
        if name.is_empty() && volume.is_empty() {
            findings.required(format!("{path}.name"), "is missing: give the name of an object");
        }
        let (one, all) = (format!("VirtualMachine{what}"), format!("VirtualMachineCluster{what}"));
        if !kind.is_empty() && *kind != one && *kind != all {
            findings.invalid(format!("{path}.kind"), format!("must be {one} or {all}"));
        }
    }
}

/// Memory that is to grow while the VM runs has a size to begin with. (An instancetype may give it.)
fn growing_memory_has_a_size(spec: &VirtualMachineSpec, findings: &mut Findings<'_>) {
    let memory = spec.template.spec.domain.memory.as_ref();
    let is_open = memory.is_some_and(|memory| memory.max_guest.is_some() && memory.guest.is_none());
    if is_open && spec.instancetype.is_none() {
        findings.invalid("spec.template.spec.domain.memory.guest", "is missing: maxGuest needs it");
    }
}

/// Reports a fault of a DataVolume template; a cluster spells the list without its last letter.
fn fault(reason: Reason, index: usize, field: &str, path: &str, message: &str, findings: &mut Findings<'_>) {
    let field = format!("spec.dataVolumeTemplate[{index}]{field}");
    findings.put_as(reason, field, format!("spec.dataVolumeTemplates[{index}]{path}"), message);
}

fn data_volume_is_whole(index: usize, template: &DataVolumeTemplateSpec, findings: &mut Findings<'_>) {
    let spec = &template.spec;
    if template.metadata.name.is_empty() {
        fault(Reason::Required, index, ".name", ".metadata.name", "must not be empty", findings);
    }
    match (&spec.pvc, &spec.storage) {
        (None, None) => {
            fault(Reason::Invalid, index, ".PVC.Storage", ".spec", "give storage, or pvc", findings);
        }
        (Some(_), Some(_)) => {
            let message = "pvc and storage exclude each other: keep one";
            fault(Reason::Invalid, index, ".PVC.Storage", ".spec.pvc", message, findings);
        }
        _ => {}
    }
    let claim = spec.pvc.as_ref().or(spec.storage.as_ref());
    let is_populated =
        claim.is_some_and(|claim| claim.data_source.is_some() || claim.data_source_ref.is_some());
    let has_source = spec.source.is_some() || spec.source_ref.is_some();
    if is_populated && has_source {
        let message = "source and dataSource exclude each other: keep one";
        fault(Reason::Invalid, index, ".source", ".spec.source", message, findings);
    }
    if !is_populated && !has_source {
        let message = "give source, e.g. `blank: {}`, or sourceRef";
        fault(Reason::Invalid, index, ".source.sourceRef", ".spec", message, findings);
    }
    let message = match spec.source.as_ref().map(|source| &source.from) {
        Some(DataVolumeOrigin::Missing) => "the source is empty: give one, e.g. `blank: {}`",
        Some(DataVolumeOrigin::Several(_)) => "several sources are given: keep one",
        _ => return,
    };
    fault(Reason::Invalid, index, ".source", ".spec.source", message, findings);
}

fn data_volume_is_used(
    index: usize,
    template: &DataVolumeTemplateSpec,
    spec: &VirtualMachineSpec,
    findings: &mut Findings<'_>,
) {
    let name = &template.metadata.name;
    let is_used = spec.template.spec.volumes.iter().any(|volume| match &volume.source {
        VolumeSource::DataVolume(source) => source.name == *name,
        VolumeSource::PersistentVolumeClaim(source) => source.claim_name == *name,
        _ => false,
    });
    if !is_used && !name.is_empty() {
        let message =
            format!("no volume of the template refers to {name:?}: add one, or remove the DataVolume");
        fault(Reason::Required, index, "", "", &message, findings);
    }
}

/// The selector of a set chooses the machines that the set makes.
pub(in super::super) fn selector_matches(
    selector: Option<&LabelSelector>,
    template: &ObjectMeta,
    findings: &mut Findings<'_>,
) {
    if selector.is_some_and(|selector| !labels::match_selector(selector, &template.labels)) {
        findings.invalid("spec.selector", "the selector does not choose the template: make its labels match");
    }
}
