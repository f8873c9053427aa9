//! Disks made of files: which files a volume has, and what its label is.

use crate::api::{SysprepSource, VirtualMachineInstance, Volume, VolumeSource};
use crate::cloud_init::{self, CloudInitError, TaggedDevice};
use crate::downward::{self, DownwardError};
use crate::resolve::{Resolved, Values};

/// The label of a disk of files that asks for no other.
const DEFAULT_LABEL: &str = "cfgdata";
/// The label of a disk with answers for Windows' set-up.
const SYSPREP_LABEL: &str = "unattendCD";
/// The files that Windows' set-up looks for, in any case of letters.
const ANSWERS: [&str; 2] = ["autounattend.xml", "unattend.xml"];

/// The contents of a disk of files.
#[derive(Clone, PartialEq, Eq)]
pub struct FileDisk {
    /// The label of its file system.
    pub label: String,
    /// Path and contents of each file; the contents may be secret.
    pub files: Vec<(String, Vec<u8>)>,
}

impl std::fmt::Debug for FileDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.files.iter().map(|(name, data)| (name, data.len())).collect();
        f.debug_struct("FileDisk").field("label", &self.label).field("files", &names).finish()
    }
}

/// Why there are no such files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileDiskError {
    /// cloud-init's documents cannot be made.
    #[error(transparent)]
    CloudInit(#[from] CloudInitError),
    /// A fact about the machine cannot be shown.
    #[error(transparent)]
    Downward(#[from] DownwardError),
    /// The object with the files was not found.
    #[error("the {kind} {name:?} is not there")]
    Missing {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Windows would not find what it looks for.
    #[error("there is neither an autounattend.xml nor an unattend.xml in it, which Windows' set-up needs")]
    NoAnswers,
    /// Not exactly one of the two.
    #[error("give either a Secret or a ConfigMap")]
    Sysprep,
}

impl FileDiskError {
    /// Whether something that the manifest names is not there, rather than the manifest being wrong.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::CloudInit(CloudInitError::SecretMissing(_)))
    }
}

/// The disk of files that `volume` stands for; `None` if its source is of another kind. `devices` are told of by config
/// drives.
pub fn of(
    vmi: &VirtualMachineInstance,
    volume: &Volume,
    resolved: &Resolved,
    devices: &[TaggedDevice],
) -> Option<Result<FileDisk, FileDiskError>> {
    let secret = |name: &str| resolved.secrets.get(name).cloned();
    let labelled = |label: &str, values| {
        let label = if label.is_empty() { DEFAULT_LABEL } else { label };
        FileDisk { label: label.to_owned(), files: values }
    };
    Some(match &volume.source {
        VolumeSource::CloudInitNoCloud(source) => {
            cloud_init::no_cloud(vmi, source, &secret).map(no_cloud).map_err(Into::into)
        }
        VolumeSource::CloudInitConfigDrive(source) => {
            cloud_init::config_drive(vmi, source, devices, &secret).map(config_drive).map_err(Into::into)
        }
        VolumeSource::ConfigMap(source) => {
            let values = resolved.config_maps.get(&source.name);
            values_or("ConfigMap", &source.name, values, source.optional == Some(true))
                .map(|files| labelled(&source.volume_label, files))
        }
        VolumeSource::Secret(source) => {
            let values = resolved.secrets.get(&source.secret_name);
            values_or("Secret", &source.secret_name, values, source.optional == Some(true))
                .map(|files| labelled(&source.volume_label, files))
        }
        VolumeSource::ServiceAccount(source) => {
            let name = &source.service_account_name;
            values_or("service account", name, resolved.service_accounts.get(name), false)
                .map(|files| labelled("", files))
        }
        VolumeSource::DownwardApi(source) => match resolved.downward.get(&volume.name) {
            Some(values) => Ok(labelled(&source.volume_label, files(values))),
            None => downward::files(vmi, source)
                .map(|files| labelled(&source.volume_label, files))
                .map_err(Into::into),
        },
        VolumeSource::Sysprep(source) => sysprep(source, resolved),
        _ => return None,
    })
}

fn files(values: &Values) -> Vec<(String, Vec<u8>)> {
    values.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// An object's files; none if it is not there and need not be.
fn values_or(
    kind: &'static str,
    name: &str,
    values: Option<&Values>,
    optional: bool,
) -> Result<Vec<(String, Vec<u8>)>, FileDiskError> {
    match values {
        Some(values) => Ok(files(values)),
        None if optional => Ok(Vec::new()),
        None => Err(FileDiskError::Missing { kind, name: name.to_owned() }),
    }
}

fn no_cloud(made: cloud_init::NoCloudFiles) -> FileDisk {
    let mut files = vec![("meta-data".into(), made.meta_data), ("user-data".into(), made.user_data)];
    files.extend(made.network_config.map(|data| ("network-config".into(), data)));
    FileDisk { label: "cidata".into(), files }
}

fn config_drive(made: cloud_init::ConfigDriveFiles) -> FileDisk {
    let at = |name: &str| format!("openstack/latest/{name}");
    let mut files = vec![(at("meta_data.json"), made.meta_data), (at("user_data"), made.user_data)];
    files.extend(made.network_data.map(|data| (at("network_data.json"), data)));
    FileDisk { label: "config-2".into(), files }
}

fn sysprep(source: &SysprepSource, resolved: &Resolved) -> Result<FileDisk, FileDiskError> {
    let files = match (&source.secret, &source.config_map) {
        (Some(secret), None) => values_or("Secret", &secret.name, resolved.secrets.get(&secret.name), false)?,
        (None, Some(map)) => values_or("ConfigMap", &map.name, resolved.config_maps.get(&map.name), false)?,
        _ => return Err(FileDiskError::Sysprep),
    };
    let is_answer = |name: &str| ANSWERS.iter().any(|answer| name.eq_ignore_ascii_case(answer));
    if !files.iter().any(|(name, _)| is_answer(name)) {
        return Err(FileDiskError::NoAnswers);
    }
    Ok(FileDisk { label: SYSPREP_LABEL.into(), files })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Manifests, Places};

    const OBJECTS: &str = r#"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: map}
data: {b.txt: text}
binaryData: {a.bin: AAH/}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: windows}
data: {AutoUnattend.XML: <unattend/>}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {token: hush}
---
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata: {name: robot-token-1, annotations: {kubernetes.io/service-account.name: robot}}
stringData: {token: abc, namespace: default, ca.crt: PEM}
"#;

    fn disk(source: &str) -> Result<FileDisk, FileDiskError> {
        let machine = "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: x, namespace: default}\nspec:\n  \
             domain: {memory: {guest: 1Gi}, devices: {}}\n  volumes:\n  - name: v\n    ";
        let manifests = Manifests::parse("x", &format!("{machine}{source}{OBJECTS}")).unwrap();
        let verdict = crate::admit(&manifests.documents[0], &manifests);
        let vmi = verdict.machine().unwrap();
        let resolved = crate::resolve(vmi, &manifests, &Places::default());
        of(vmi, &vmi.spec.volumes[0], &resolved, &[]).unwrap()
    }

    fn shown(source: &str) -> (String, Vec<(String, String)>) {
        let disk = disk(source).unwrap();
        let text = |(name, data): (String, Vec<u8>)| (name, String::from_utf8_lossy(&data).into_owned());
        (disk.label, disk.files.into_iter().map(text).collect())
    }

    fn file(name: &str, data: &str) -> (String, String) {
        (name.into(), data.into())
    }

    #[test]
    fn labels_and_files_are_kubevirts() {
        let data = file("a.bin", "\0\u{1}\u{fffd}");
        assert_eq!(
            shown("configMap: {name: map}"),
            ("cfgdata".into(), vec![data.clone(), file("b.txt", "text")])
        );
        assert_eq!(shown("configMap: {name: map, volumeLabel: my label}").0, "my label");
        assert_eq!(shown("secret: {secretName: keys}"), ("cfgdata".into(), vec![file("token", "hush")]));
        let (label, files) = shown("serviceAccount: {serviceAccountName: robot}");
        assert_eq!((label.as_str(), files.len()), ("cfgdata", 3));
        assert_eq!(files[2], file("token", "abc"));
        let (label, files) = shown("sysprep: {configMap: {name: windows}}");
        assert_eq!((label.as_str(), files.len()), ("unattendCD", 1));
        let facts = "downwardAPI: {fields: [{path: sub/name, fieldRef: {fieldPath: metadata.name}}]}";
        assert_eq!(shown(facts), ("cfgdata".into(), vec![file("sub/name", "x")]));
    }

    #[test]
    fn a_config_drive_has_openstacks_layout() {
        let (label, files) =
            shown("cloudInitConfigDrive: {userDataBase64: aGVsbG8=, networkData: '{\"links\": []}'}");
        let uuid = crate::Uuid::of_machine("x");
        let meta = format!(r#"{{"instance_id":"x.default","hostname":"x","uuid":"{uuid}"}}"#);
        assert_eq!(label, "config-2");
        let at = |name: &str, data: &str| file(&format!("openstack/latest/{name}"), data);
        let want = [
            at("meta_data.json", &meta),
            at("user_data", "hello"),
            at("network_data.json", "{\"links\": []}"),
        ];
        assert_eq!(files, want);
    }

    #[test]
    fn what_is_missing_is_said_and_what_is_optional_is_empty() {
        assert_eq!(shown("configMap: {name: none, optional: true}"), ("cfgdata".into(), vec![]));
        assert_eq!(shown("secret: {secretName: none, optional: true}").1, []);
        for gone in
            ["configMap: {name: none}", "secret: {secretName: none}", "sysprep: {secret: {name: none}}"]
        {
            assert!(disk(gone).unwrap_err().is_missing(), "{gone}");
        }
        assert!(disk("serviceAccount: {serviceAccountName: none}").unwrap_err().is_missing());
        assert_eq!(disk("sysprep: {secret: {name: keys}}").unwrap_err(), FileDiskError::NoAnswers);
    }
}
