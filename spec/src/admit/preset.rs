//! Presets: parts that are added to machines with certain labels. They are deprecated in KubeVirt.

use super::Findings;
use super::object::quietly;
use crate::api::{DomainSpec, VirtualMachineInstance, VirtualMachineInstancePreset};
use crate::labels;
use crate::source::Manifests;

/// The most presets of a namespace that are looked at for each machine.
const MOST: usize = 100;

/// Adds what presets among the manifests have for the machine; a preset that contradicts it is skipped whole.
pub(super) fn apply(vmi: &mut VirtualMachineInstance, manifests: &Manifests, findings: &mut Findings<'_>) {
    let namespace = vmi.metadata.namespace.clone();
    for (number, document) in manifests.within("VirtualMachineInstancePreset", &namespace).enumerate() {
        if number == MOST {
            findings.warn("metadata", format!("only the first {MOST} presets are looked at"));
            return;
        }
        let preset: VirtualMachineInstancePreset = quietly(document);
        let Some(domain) = &preset.spec.domain else { continue };
        if !labels::match_selector(&preset.spec.selector, &vmi.metadata.labels) {
            continue;
        }
        if !merge(&mut vmi.spec.domain, domain) {
            let message = format!("the preset {:?} contradicts the machine and is left out", document.name());
            findings.warn("metadata.labels", message);
        }
    }
}

/// Fills the sections that the machine leaves open; false, and nothing done, where one is given and differs.
fn merge(domain: &mut DomainSpec, preset: &DomainSpec) -> bool {
    fn differs<T: PartialEq>(own: &Option<T>, preset: &Option<T>) -> bool {
        own.is_some() && preset.is_some() && own != preset
    }
    let contradicts = differs(&domain.cpu, &preset.cpu)
        || differs(&domain.memory, &preset.memory)
        || differs(&domain.firmware, &preset.firmware)
        || differs(&domain.clock, &preset.clock)
        || differs(&domain.features, &preset.features)
        || differs(&domain.machine, &preset.machine)
        || differs(&domain.devices.watchdog, &preset.devices.watchdog)
        || preset
            .resources
            .requests
            .iter()
            .any(|(key, amount)| domain.resources.requests.get(key).is_some_and(|own| own != amount));
    if contradicts {
        return false;
    }
    fn fill<T: Clone>(own: &mut Option<T>, preset: &Option<T>) {
        if own.is_none() {
            own.clone_from(preset);
        }
    }
    fill(&mut domain.cpu, &preset.cpu);
    fill(&mut domain.memory, &preset.memory);
    fill(&mut domain.firmware, &preset.firmware);
    fill(&mut domain.clock, &preset.clock);
    fill(&mut domain.features, &preset.features);
    fill(&mut domain.machine, &preset.machine);
    fill(&mut domain.devices.watchdog, &preset.devices.watchdog);
    for (key, amount) in &preset.resources.requests {
        domain.resources.requests.entry(key.clone()).or_insert_with(|| amount.clone());
    }
    true
}
