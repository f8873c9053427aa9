//! The documents that cloud-init reads from a NoCloud disk or a config drive, with KubeVirt's contents.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::{
    CloudInitNoCloudSource, LocalObjectReference, SshPropagationMethod, VirtualMachineInstance,
};
use crate::base64;

/// The files of a NoCloud disk; its volume label is `cidata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCloudFiles {
    /// `meta-data`: JSON.
    pub meta_data: Vec<u8>,
    /// `user-data`, written even when empty.
    pub user_data: Vec<u8>,
    /// `network-config`, only written when there is any.
    pub network_config: Option<Vec<u8>>,
}

/// The files of a config drive, all in `openstack/latest`; its volume label is `config-2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDriveFiles {
    /// `meta_data.json`.
    pub meta_data: Vec<u8>,
    /// `user_data`, written even when empty.
    pub user_data: Vec<u8>,
    /// `network_data.json`, only written when there is any.
    pub network_data: Option<Vec<u8>>,
}

/// The values of a Secret by key.
pub type SecretValues = BTreeMap<String, Vec<u8>>;

/// Why the documents cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudInitError {
    /// A Secret is not to be found.
    #[error("the secret {0:?} is not there: add it to the manifests or to the folder of secrets")]
    SecretMissing(String),
    /// A Secret lacks the key.
    #[error("the secret {secret:?} has no key {key:?}")]
    KeyMissing {
        /// The secret.
        secret: String,
        /// The key, in its usual spelling.
        key: &'static str,
    },
    /// Data is not base64.
    #[error("{field} is not base64")]
    Base64 {
        /// The field of the volume.
        field: &'static str,
        /// What is wrong.
        #[source]
        source: base64::Base64Error,
    },
}

/// NoCloud's meta-data; keys without a value are left out.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct MetaData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_type: Option<&'a str>,
    instance_id: String,
    local_hostname: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    public_keys: BTreeMap<String, String>,
}

/// A config drive's meta-data; keys without a value are left out.
#[derive(Serialize)]
struct ConfigDriveMetaData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_type: Option<&'a str>,
    instance_id: String,
    hostname: &'a str,
    uuid: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    devices: &'a [TaggedDevice],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    public_keys: BTreeMap<String, String>,
}

/// A device that the manifest gave a tag, as a config drive's meta-data tells the guest of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaggedDevice {
    /// `nic` or `disk`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `pci`.
    pub bus: &'static str,
    /// As in `0000:00:02.0`.
    pub address: String,
    /// A card's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// A disk's serial number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// The manifest's word for it.
    pub tags: [String; 1],
}

/// Makes the documents of a machine's NoCloud volume; `secret` finds a Secret by its name.
///
/// # Errors
/// A Secret or key that is not there, and data that is not base64.
pub fn no_cloud(
    vmi: &VirtualMachineInstance,
    source: &CloudInitNoCloudSource,
    secret: &dyn Fn(&str) -> Option<SecretValues>,
) -> Result<NoCloudFiles, CloudInitError> {
    let goes = |method: &SshPropagationMethod| method.no_cloud.is_some();
    let meta_data = MetaData {
        instance_type: instance_type(vmi),
        instance_id: vmi.firmware_uuid().to_string(),
        local_hostname: vmi.hostname(),
        public_keys: public_keys(vmi, secret, &goes)?,
    };
    let network_config = network_data(source).resolve(secret)?;
    Ok(NoCloudFiles {
        // Text and maps of text always serialize.
        meta_data: serde_json::to_vec(&meta_data).unwrap_or_default(),
        user_data: user_data(source).resolve(secret)?,
        network_config: Some(network_config).filter(|data| !data.is_empty()),
    })
}

/// Makes the documents of a machine's config drive; `secret` finds a Secret by its name. `devices` are those with tags.
///
/// # Errors
/// A Secret or key that is not there, and data that is not base64.
pub fn config_drive(
    vmi: &VirtualMachineInstance,
    source: &CloudInitNoCloudSource,
    devices: &[TaggedDevice],
    secret: &dyn Fn(&str) -> Option<SecretValues>,
) -> Result<ConfigDriveFiles, CloudInitError> {
    let goes = |method: &SshPropagationMethod| method.config_drive.is_some();
    let meta_data = ConfigDriveMetaData {
        instance_type: instance_type(vmi),
        instance_id: format!("{}.{}", vmi.metadata.name, vmi.namespace()),
        hostname: vmi.hostname(),
        uuid: vmi.firmware_uuid().to_string(),
        devices,
        public_keys: public_keys(vmi, secret, &goes)?,
    };
    let network_data = network_data(source).resolve(secret)?;
    Ok(ConfigDriveFiles {
        meta_data: serde_json::to_vec(&meta_data).unwrap_or_default(),
        user_data: user_data(source).resolve(secret)?,
        network_data: Some(network_data).filter(|data| !data.is_empty()),
    })
}

fn user_data(source: &CloudInitNoCloudSource) -> Data<'_> {
    Data {
        field: "userDataBase64",
        plain: &source.user_data,
        base64: &source.user_data_base64,
        reference: source.secret_ref.as_ref(),
        keys: ["userdata", "userData"],
    }
}

fn network_data(source: &CloudInitNoCloudSource) -> Data<'_> {
    Data {
        field: "networkDataBase64",
        plain: &source.network_data,
        base64: &source.network_data_base64,
        reference: source.network_data_secret_ref.as_ref(),
        keys: ["networkdata", "networkData"],
    }
}

/// One document, with the three ways to give it.
struct Data<'a> {
    field: &'static str,
    plain: &'a str,
    base64: &'a str,
    reference: Option<&'a LocalObjectReference>,
    keys: [&'static str; 2],
}

impl Data<'_> {
    fn resolve(&self, secret: &dyn Fn(&str) -> Option<SecretValues>) -> Result<Vec<u8>, CloudInitError> {
        if let Some(name) = self.reference.map(|reference| &reference.name).filter(|name| !name.is_empty()) {
            let mut values = secret(name).ok_or_else(|| CloudInitError::SecretMissing(name.clone()))?;
            let [usual, other] = self.keys;
            return values
                .remove(usual)
                .or_else(|| values.remove(other))
                .ok_or_else(|| CloudInitError::KeyMissing { secret: name.clone(), key: usual });
        }
        if !self.base64.is_empty() {
            return base64::decode(self.base64)
                .map_err(|source| CloudInitError::Base64 { field: self.field, source });
        }
        Ok(self.plain.as_bytes().to_vec())
    }
}

/// The instance type, as the annotations that instancetypes leave behind name it.
fn instance_type(vmi: &VirtualMachineInstance) -> Option<&str> {
    let annotations = &vmi.metadata.annotations;
    ["kubevirt.io/instancetype-name", "kubevirt.io/cluster-instancetype-name"]
        .iter()
        .find_map(|key| annotations.get(*key))
        .map(String::as_str)
}

/// The public keys of all credentials that go this way, numbered.
fn public_keys(
    vmi: &VirtualMachineInstance,
    secret: &dyn Fn(&str) -> Option<SecretValues>,
    goes: &dyn Fn(&SshPropagationMethod) -> bool,
) -> Result<BTreeMap<String, String>, CloudInitError> {
    let mut keys = BTreeMap::new();
    let credentials = vmi.spec.access_credentials.iter().filter_map(|one| one.ssh_public_key.as_ref());
    for credential in credentials.filter(|one| goes(&one.propagation_method)) {
        let Some(source) = &credential.source.secret else { continue };
        let name = &source.secret_name;
        let values = secret(name).ok_or_else(|| CloudInitError::SecretMissing(name.clone()))?;
        for value in values.values() {
            let number = keys.len().to_string();
            keys.insert(number, String::from_utf8_lossy(value).trim().to_owned());
        }
    }
    Ok(keys)
}
