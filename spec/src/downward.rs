//! Facts about a machine as files, in the words in which the kubelet writes them.

use crate::api::{
    DownwardApiFile, DownwardApiSource, ObjectFieldSelector, Quantity, ResourceFieldSelector,
    VirtualMachineInstance,
};

/// Why a fact cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownwardError {
    /// The field of the object is none that a volume may show.
    #[error(
        "the file {file:?} cannot show {field:?}: a volume shows metadata.name, namespace, uid, labels, annotations, \
         labels['KEY'] and annotations['KEY']"
    )]
    Field {
        /// The file.
        file: String,
        /// The field.
        field: String,
    },
    /// The resource is none, or the machine says nothing of it.
    #[error("the file {file:?} cannot show {resource:?}: spec.domain.resources does not have it")]
    Resource {
        /// The file.
        file: String,
        /// The resource.
        resource: String,
    },
    /// Neither or both of the two.
    #[error("the file {0:?} needs either a fieldRef or a resourceFieldRef")]
    Reference(String),
}

/// The files of a downward API volume, path and contents. Metadata is the machine's own: there is no pod around it.
///
/// # Errors
/// A fact that a volume does not show, or that the machine does not have.
pub fn files(
    vmi: &VirtualMachineInstance,
    source: &DownwardApiSource,
) -> Result<Vec<(String, Vec<u8>)>, DownwardError> {
    source.fields.iter().map(|file| Ok((file.path.clone(), fact(vmi, file)?.into_bytes()))).collect()
}

fn fact(vmi: &VirtualMachineInstance, file: &DownwardApiFile) -> Result<String, DownwardError> {
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), None) => metadata(vmi, field)
            .ok_or_else(|| DownwardError::Field { file: file.path.clone(), field: field.field_path.clone() }),
        (None, Some(resource)) => amount(vmi, resource).ok_or_else(|| DownwardError::Resource {
            file: file.path.clone(),
            resource: resource.resource.clone(),
        }),
        _ => Err(DownwardError::Reference(file.path.clone())),
    }
}

fn metadata(vmi: &VirtualMachineInstance, selector: &ObjectFieldSelector) -> Option<String> {
    let meta = &vmi.metadata;
    let (maps, path) = ([&meta.labels, &meta.annotations], selector.field_path.as_str());
    let [labels, annotations] = maps;
    Some(match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => vmi.namespace().to_owned(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => lines(labels),
        "metadata.annotations" => lines(annotations),
        _ => {
            let (map, rest) = match path.strip_prefix("metadata.labels['") {
                Some(rest) => (labels, rest),
                None => (annotations, path.strip_prefix("metadata.annotations['")?),
            };
            // A key that is not there shows as nothing.
            map.get(rest.strip_suffix("']")?).cloned().unwrap_or_default()
        }
    })
}

/// `key="value"`, one a line, by key.
fn lines(map: &std::collections::BTreeMap<String, String>) -> String {
    let lines: Vec<_> = map.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    lines.join("\n")
}

/// Text in double quotes, with the escapes of the Go language.
fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        let escape = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{7}' => "\\a",
            '\u{8}' => "\\b",
            '\u{b}' => "\\v",
            '\u{c}' => "\\f",
            c if c < ' ' || c == '\u{7f}' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
                continue;
            }
            c => {
                out.push(c);
                continue;
            }
        };
        out.push_str(escape);
    }
    out.push('"');
    out
}

/// An amount in whole units of the divisor, rounded up; the unit is 1 where none is given.
fn amount(vmi: &VirtualMachineInstance, selector: &ResourceFieldSelector) -> Option<String> {
    let resources = &vmi.spec.domain.resources;
    let (map, resource) = match selector.resource.split_once('.')? {
        ("limits", resource) => (&resources.limits, resource),
        ("requests", resource) => (&resources.requests, resource),
        _ => return None,
    };
    let amount = map.get(resource)?.nano();
    let unit = selector.divisor.as_ref().filter(|divisor| !divisor.is_zero()).map_or(NANO, Quantity::nano);
    let rest = i128::from(amount.checked_rem(unit)? > 0);
    Some((amount.checked_div(unit)?.checked_add(rest)?).to_string())
}

/// One, in billionths.
const NANO: i128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifests;
    use crate::api::VolumeSource;

    const MACHINE: &str = r#"
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata:
  name: x
  uid: "1234"
  labels: {b: "2", a: "say \"hi\"\n"}
  annotations: {note: "a\\b"}
spec:
  domain:
    memory: {guest: 1Gi}
    resources: {limits: {cpu: 1500m}, requests: {memory: 1.5Gi}}
    devices: {}
  volumes:
  - name: facts
    downwardAPI:
      fields:
"#;

    fn facts(fields: &[&str]) -> Result<Vec<String>, DownwardError> {
        let fields: String = fields.iter().map(|field| format!("      - {{path: f, {field}}}\n")).collect();
        let manifests = Manifests::parse("x", &format!("{MACHINE}{fields}")).unwrap();
        let verdict = crate::admit(&manifests.documents[0], &manifests);
        let vmi = verdict.machine().unwrap();
        let VolumeSource::DownwardApi(source) = &vmi.spec.volumes[0].source else { panic!() };
        let files = files(vmi, source)?;
        Ok(files.into_iter().map(|(_, text)| String::from_utf8(text).unwrap()).collect())
    }

    #[test]
    fn facts_are_written_as_the_kubelet_does() {
        let got = facts(&[
            "fieldRef: {fieldPath: metadata.name}",
            "fieldRef: {fieldPath: metadata.namespace}",
            "fieldRef: {fieldPath: metadata.uid}",
            "fieldRef: {fieldPath: metadata.labels}",
            "fieldRef: {fieldPath: \"metadata.annotations['note']\"}",
            "fieldRef: {fieldPath: \"metadata.labels['none']\"}",
            "resourceFieldRef: {resource: limits.cpu}",
            "resourceFieldRef: {resource: limits.cpu, divisor: 1m}",
            "resourceFieldRef: {resource: requests.memory, divisor: 1Mi}",
        ]);
        let labels = "a=\"say \\\"hi\\\"\\n\"\nb=\"2\"";
        assert_eq!(got.unwrap(), ["x", "default", "1234", labels, "a\\b", "", "2", "1500", "1536"]);
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        for field in [
            "fieldRef: {fieldPath: spec.nodeName}",
            "fieldRef: {fieldPath: \"metadata.labels['x\"}",
            "resourceFieldRef: {resource: limits.memory}",
            "resourceFieldRef: {resource: cpu}",
            "mode: 4",
            "fieldRef: {fieldPath: metadata.name}, resourceFieldRef: {resource: limits.cpu}",
        ] {
            assert!(facts(&[field]).is_err(), "{field}");
        }
    }
}
