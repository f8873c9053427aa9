//! Kubernetes' own objects that machines point to: claims, Secrets, ConfigMaps; and networks of Multus.

use std::collections::BTreeMap;

use super::super::{Findings, Reason};
use crate::api::{ConfigMap, NetworkAttachmentDefinition, PersistentVolumeClaimSpec, Quantity, Secret};
use crate::cni::CniError;

/// The most bytes of all values of a Secret or ConfigMap together.
const MOST_BYTES: usize = 1 << 20;
const ACCESS_MODES: &[&str] = &["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"];

/// Checks a claim to storage.
pub(in super::super) fn claim(spec: &PersistentVolumeClaimSpec, findings: &mut Findings<'_>) {
    access_modes_are_given(spec, "spec", findings);
    size_is_given(spec, "spec", findings);
    let mode = spec.volume_mode.as_deref();
    if !matches!(mode, None | Some("Filesystem" | "Block")) {
        findings.put(Reason::NotSupported, "spec.volumeMode", "must be Filesystem or Block");
    }
}

pub(super) fn access_modes_are_given(
    claim: &PersistentVolumeClaimSpec,
    path: &str,
    findings: &mut Findings<'_>,
) {
    if claim.access_modes.is_empty() {
        findings.required(format!("{path}.accessModes"), "is missing: give e.g. [ReadWriteOnce]");
    }
    for (index, mode) in claim.access_modes.iter().enumerate() {
        if !ACCESS_MODES.contains(&mode.as_str()) {
            let message = format!("{mode:?} is not an access mode: use one of {}", ACCESS_MODES.join(", "));
            findings.put(Reason::NotSupported, format!("{path}.accessModes[{index}]"), message);
        }
    }
}

pub(super) fn size_is_given(claim: &PersistentVolumeClaimSpec, path: &str, findings: &mut Findings<'_>) {
    let size = claim.resources.as_ref().and_then(|resources| resources.requests.get("storage"));
    let path = format!("{path}.resources.requests.storage");
    match size {
        None => findings.required(path, "is missing: give a size, e.g. 10Gi"),
        Some(size) if *size <= Quantity::default() => {
            findings.invalid(path, format!("{size} is no size: give e.g. 10Gi"));
        }
        Some(_) => {}
    }
}

/// Checks a Secret.
pub(in super::super) fn secret(secret: &Secret, findings: &mut Findings<'_>) {
    keys_can_be_file_names(&secret.data, "data", findings);
    keys_can_be_file_names(&secret.string_data, "stringData", findings);
    values_are_short(secret.values(), "data", findings);
}

/// Checks a ConfigMap.
pub(in super::super) fn config_map(map: &ConfigMap, findings: &mut Findings<'_>) {
    keys_can_be_file_names(&map.data, "data", findings);
    keys_can_be_file_names(&map.binary_data, "binaryData", findings);
    for key in map.data.keys().filter(|key| map.binary_data.contains_key(*key)) {
        findings.invalid(format!("data[{key}]"), "the key is given in binaryData too: keep one");
    }
    values_are_short(map.values(), "data", findings);
}

fn keys_can_be_file_names<T>(values: &BTreeMap<String, T>, list: &str, findings: &mut Findings<'_>) {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    for key in values.keys() {
        let is_folder = key == "." || key.starts_with("..");
        if is_folder || !(1..=253).contains(&key.len()) || !key.bytes().all(is_known) {
            let message = "keys become file names: use letters, digits, dashes, dots and underscores";
            findings.invalid(format!("{list}[{}]", crate::text::shorten(key, 60)), message);
        }
    }
}

fn values_are_short(values: BTreeMap<String, Vec<u8>>, list: &str, findings: &mut Findings<'_>) {
    let bytes = values.values().map(Vec::len).fold(0, usize::saturating_add);
    if bytes > MOST_BYTES {
        let message = format!("all values together have {bytes} bytes, more than {MOST_BYTES}");
        findings.put(Reason::Invalid, list, message);
    }
}

/// Checks a network: its configuration is JSON that names a plugin.
pub(in super::super) fn network(network: &NetworkAttachmentDefinition, findings: &mut Findings<'_>) {
    match network.cni() {
        Err(error @ CniError::Value { .. }) => findings.cannot("spec.config", error.to_string()),
        Err(error) => findings.invalid("spec.config", error.to_string()),
        Ok(_) => {}
    }
}
