//! DataVolumes of their own, as CDI's webhook checks them.

use super::super::{Findings, Reason};
use super::core;
use crate::api::{DataVolumeContents, DataVolumeOrigin, DataVolumeSpec, PersistentVolumeClaimSpec};

/// Checks a DataVolume.
pub(in super::super) fn data_volume(spec: &DataVolumeSpec, findings: &mut Findings<'_>) {
    contents_are_given_once(spec, findings);
    if let Some(source) = &spec.source {
        source_is_one(source, findings);
        source_is_whole(source, findings);
    }
    claim_is_given_once(spec, findings);
    claim_has_a_size(spec, findings);
    content_type_is_known(spec, findings);
}

fn is_populated(spec: &DataVolumeSpec) -> bool {
    let claims = [&spec.pvc, &spec.storage];
    claims.into_iter().flatten().any(|claim| claim.data_source.is_some() || claim.data_source_ref.is_some())
}

/// The data comes from a source, from what a reference leads to, or from what the claim itself names.
fn contents_are_given_once(spec: &DataVolumeSpec, findings: &mut Findings<'_>) {
    let is_populated = is_populated(spec);
    let has_source = spec.source.is_some() || spec.source_ref.is_some();
    if spec.source.is_some() && spec.source_ref.is_some() {
        findings.invalid("spec.source", "source and sourceRef exclude each other: keep one");
    } else if has_source && is_populated {
        findings.invalid("spec.source", "source and the claim's dataSource exclude each other: keep one");
    } else if !has_source && !is_populated {
        let message = "there is no source of the data: give one, e.g. `blank: {}` for an empty disk";
        findings.invalid("spec.source", message);
    }
}

fn source_is_one(source: &DataVolumeContents, findings: &mut Findings<'_>) {
    match &source.from {
        DataVolumeOrigin::Missing => {
            let message = "the source is empty: give one, e.g. `blank: {}` for an empty disk";
            findings.invalid("spec.source", message);
        }
        DataVolumeOrigin::Several(all) => {
            let names: Vec<_> = all.iter().filter_map(DataVolumeOrigin::key).collect();
            let message = format!("several sources are given ({}): keep one", names.join(", "));
            findings.invalid("spec.source", message);
        }
        _ => {}
    }
}

/// Each source names what it needs to be found.
fn source_is_whole(source: &DataVolumeContents, findings: &mut Findings<'_>) {
    let needed: &[(&str, &str)] = match &source.from {
        DataVolumeOrigin::Http(http) => &[("url", &http.url)],
        DataVolumeOrigin::S3(s3) => &[("url", &s3.url)],
        DataVolumeOrigin::Gcs(gcs) => &[("url", &gcs.url)],
        DataVolumeOrigin::Registry(registry) => {
            if registry.url.is_some() == registry.image_stream.is_some() {
                let message = "give exactly one of url and imageStream";
                findings.invalid("spec.source.registry", message);
            }
            registry_url_is_one(registry.url.as_deref(), findings);
            &[]
        }
        DataVolumeOrigin::Claim(claim) => &[("name", &claim.name)],
        DataVolumeOrigin::Snapshot(snapshot) => &[("name", &snapshot.name)],
        DataVolumeOrigin::Imageio(imageio) => &[
            ("url", &imageio.url),
            ("diskId", &imageio.disk_id),
            ("secretRef", &imageio.secret_ref),
            ("certConfigMap", &imageio.cert_config_map),
        ],
        DataVolumeOrigin::Vddk(vddk) => &[
            ("url", &vddk.url),
            ("uuid", &vddk.uuid),
            ("backingFile", &vddk.backing_file),
            ("thumbprint", &vddk.thumbprint),
            ("secretRef", &vddk.secret_ref),
        ],
        _ => &[],
    };
    let kind = source.from.key().unwrap_or_default();
    for (key, value) in needed {
        let path = format!("spec.source.{kind}.{key}");
        if value.is_empty() {
            findings.put(Reason::Required, path, format!("is missing: the source {kind} needs it"));
        } else if *key == "url" && !value.contains("://") {
            let message =
                format!("{:?} is not an address such as https://…", crate::text::shorten(value, 60));
            findings.invalid(path, message);
        }
    }
}

fn registry_url_is_one(url: Option<&str>, findings: &mut Findings<'_>) {
    let is_known = |url: &str| url.starts_with("docker://") || url.starts_with("oci-archive://");
    if url.is_some_and(|url| !is_known(url)) {
        findings.invalid("spec.source.registry.url", "must begin with docker:// or oci-archive://");
    }
}

fn claim_is_given_once(spec: &DataVolumeSpec, findings: &mut Findings<'_>) {
    match (&spec.pvc, &spec.storage) {
        (None, None) => findings.invalid("spec", "the claim is missing: give storage, or pvc"),
        (Some(_), Some(_)) => findings.invalid("spec.pvc", "pvc and storage exclude each other: keep one"),
        _ => {}
    }
}

/// A copy takes the size of what it copies; everything else needs one.
fn claim_has_a_size(spec: &DataVolumeSpec, findings: &mut Findings<'_>) {
    let is_copy = spec.source.as_ref().is_some_and(|source| {
        matches!(source.from, DataVolumeOrigin::Claim(_) | DataVolumeOrigin::Snapshot(_))
    });
    let mut check = |claim: &Option<PersistentVolumeClaimSpec>, path: &str| {
        let Some(claim) = claim else { return };
        if path == "spec.pvc" {
            core::access_modes_are_given(claim, path, findings);
        }
        if !is_copy && spec.source_ref.is_none() && !is_populated(spec) {
            core::size_is_given(claim, path, findings);
        }
    };
    check(&spec.pvc, "spec.pvc");
    check(&spec.storage, "spec.storage");
}

fn content_type_is_known(spec: &DataVolumeSpec, findings: &mut Findings<'_>) {
    let content = spec.content_type.as_str();
    if !matches!(content, "" | "kubevirt" | "archive") {
        findings.invalid("spec.contentType", "must be kubevirt or archive");
    }
    let is_blank =
        spec.source.as_ref().is_some_and(|source| matches!(source.from, DataVolumeOrigin::Blank(_)));
    if content == "archive" && is_blank {
        findings.invalid("spec.contentType", "an empty disk is no archive: remove contentType");
    }
}
