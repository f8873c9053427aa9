//! Secrets, ConfigMaps and other sets of values, out of objects or folders.

use std::fs;
use std::path::Path;

use super::references::Reference;
use super::{Search, Values, plain_name, within};
use crate::admit::Object;
use crate::api::{ConfigMap, Secret};

/// The most bytes read of one value, as in a cluster: a whole Secret has at most 1 MiB.
const MOST_BYTES: u64 = 1 << 20;
/// Where every pod has its service account's files.
const POD_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The type of Secrets that hold a service account's token, and the note that names the account.
const ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

impl Search<'_> {
    fn object(&self, kind: &str, name: &str) -> Option<Object> {
        let document = self.manifests.find(kind, &self.machine.metadata.namespace, name)?;
        Some(crate::admit(document, self.manifests).object)
    }

    /// The values of a Secret, or what to do about it.
    pub(super) fn secret(&self, reference: &Reference) -> Result<Values, String> {
        if let Some(Object::Secret(secret)) = self.object("Secret", &reference.name) {
            return Ok(Secret::values(&secret));
        }
        let folder = self.places.secrets.as_ref();
        folder_values(folder.map(AsRef::as_ref), &reference.name)
            .or_else(|| self.pod_values(reference.shelf, &reference.folder))
            .ok_or_else(|| absent("Secret", "--secrets", &reference.name, &nor(within(folder))))
    }

    /// The values of a ConfigMap, or what to do about it.
    pub(super) fn config_map(&self, reference: &Reference) -> Result<Values, String> {
        if let Some(Object::ConfigMap(map)) = self.object("ConfigMap", &reference.name) {
            return Ok(ConfigMap::values(&map));
        }
        let folder = self.places.config_maps.as_ref();
        folder_values(folder.map(AsRef::as_ref), &reference.name)
            .or_else(|| self.pod_values(reference.shelf, &reference.folder))
            .ok_or_else(|| absent("ConfigMap", "--configmaps", &reference.name, &nor(within(folder))))
    }

    /// The files of a service account: those of a Secret with its token, of a folder, or of the pod around this process.
    pub(super) fn service_account(&self, name: &str) -> Result<Values, String> {
        let secrets = self.manifests.within("Secret", &self.machine.metadata.namespace);
        let token = secrets.filter_map(|document| match crate::admit(document, self.manifests).object {
            Object::Secret(secret) if secret.r#type == ACCOUNT_TOKEN => Some(secret),
            _ => None,
        });
        let mut own =
            token.filter(|secret| secret.metadata.annotations.get(ACCOUNT_NAME).is_some_and(|of| of == name));
        let folder = self.places.secrets.as_ref();
        own.next()
            .map(|secret| secret.values())
            .or_else(|| folder_values(folder.map(AsRef::as_ref), name))
            .or_else(|| self.places.pod.as_ref().and_then(|_| read_folder(Path::new(POD_ACCOUNT))))
            .ok_or_else(|| {
                format!(
                    "the service account {name:?} has no token among the given objects{}: add a Secret of type \
                     {ACCOUNT_TOKEN} with the annotation {ACCOUNT_NAME}: {name}, or a folder {name} to --secrets",
                    nor(within(folder))
                )
            })
    }

    /// The files of a downward API volume, where a pod has them.
    pub(super) fn downward(&self, volume: &str) -> Option<Values> {
        self.pod_values("downwardapi", volume)
    }

    fn pod_values(&self, shelf: &str, folder: &str) -> Option<Values> {
        folder_values(Some(&self.places.pod.as_ref()?.join(shelf)), folder)
    }
}

fn nor(place: String) -> String {
    if place.is_empty() { place } else { format!(" nor{place}") }
}

fn absent(kind: &str, option: &str, name: &str, nor: &str) -> String {
    format!(
        "the {kind} {name:?} is not among the given objects{nor}: add its manifest, or a folder {name} to {option}"
    )
}

/// The files of the folder `name` in a folder as values.
fn folder_values(folder: Option<&Path>, name: &str) -> Option<Values> {
    read_folder(&folder?.join(plain_name(name)?))
}

/// The files of a folder as values; the kubelet's own entries (`..data`) are left out.
fn read_folder(folder: &Path) -> Option<Values> {
    let mut values = Values::new();
    for entry in fs::read_dir(folder).ok()? {
        let path = entry.ok()?.path();
        let key = path.file_name()?.to_str()?.to_owned();
        let metadata = fs::metadata(&path).ok()?;
        if !key.starts_with("..") && metadata.is_file() && metadata.len() <= MOST_BYTES {
            values.insert(key, fs::read(&path).ok()?);
        }
    }
    Some(values)
}
