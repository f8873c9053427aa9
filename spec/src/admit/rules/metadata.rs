//! Labels and annotations.

use super::super::{Findings, Reason};
use crate::api::ObjectMeta;

/// Labels that only KubeVirt's own controllers may set.
const RESERVED: &[&str] = &[
    "kubevirt.io/created-by",
    "kubevirt.io/migrationJobUID",
    "kubevirt.io/nodeName",
    "kubevirt.io/migrationTargetNodeName",
    "kubevirt.io/schedulable",
    "kubevirt.io/install-strategy",
];

/// Annotations that change the machine in KubeVirt, and what they do not do here.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("hooks.kubevirt.io/hookSidecars", "hooks are not run: the machine is as the manifest says"),
    ("kubevirt.io/ignitiondata", "the guest does not get this Ignition configuration"),
    ("kubevirt.io/placePCIDevicesOnRootComplex", "kubevmm chooses the PCI topology"),
    ("kubevirt.io/disablePCIHole64", "the machine has a 64-bit PCI window"),
    ("kubevirt.io/libvirt-log-filters", "there is no libvirt to log"),
    ("alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity", "the VMM's threads are not pinned to host CPUs"),
];

pub(super) fn check(metadata: &ObjectMeta, findings: &mut Findings<'_>) {
    reserved_labels_are_absent(metadata, findings);
    annotations_with_an_effect_are_named(metadata, findings);
}

fn reserved_labels_are_absent(metadata: &ObjectMeta, findings: &mut Findings<'_>) {
    for label in metadata.labels.keys().filter(|label| RESERVED.contains(&label.as_str())) {
        let path = format!("metadata.labels[{label}]");
        let message = format!("{label} is set by KubeVirt itself: remove it");
        findings.put_as(Reason::NotSupported, "metadata.labels", path, message);
    }
}

fn annotations_with_an_effect_are_named(metadata: &ObjectMeta, findings: &mut Findings<'_>) {
    for (annotation, message) in WITHOUT_EFFECT {
        if metadata.annotations.contains_key(*annotation) {
            findings.warn(format!("metadata.annotations[{annotation}]"), *message);
        }
    }
}
