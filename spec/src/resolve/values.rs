//! Secrets, ConfigMaps and other sets of values, out of objects or folders.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::references::Reference;
use super::{Search, Unfound, Values, plain_name};
use crate::admit::Object;
use crate::api::{ConfigMap, Secret};

/// Values, and the folder that they were found in, if in one.
type Found = (Values, Option<PathBuf>);

/// The most bytes read of one folder, as in a cluster: a whole Secret or ConfigMap has at most 1 MiB.
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
    pub(super) fn secret(&self, reference: &Reference) -> Result<Found, Unfound> {
        if let Some(Object::Secret(secret)) = self.object("Secret", &reference.name) {
            return Ok((Secret::values(&secret), None));
        }
        self.in_folders("Secret", "--secrets", self.places.secrets.as_deref(), reference)
    }

    /// The values of a ConfigMap, or what to do about it.
    pub(super) fn config_map(&self, reference: &Reference) -> Result<Found, Unfound> {
        if let Some(Object::ConfigMap(map)) = self.object("ConfigMap", &reference.name) {
            return Ok((ConfigMap::values(&map), None));
        }
        self.in_folders("ConfigMap", "--configmaps", self.places.config_maps.as_deref(), reference)
    }

    fn in_folders(
        &self,
        kind: &str,
        option: &str,
        folder: Option<&Path>,
        reference: &Reference,
    ) -> Result<Found, Unfound> {
        let name = &reference.name;
        if let Some(values) = folder_values(folder, name)? {
            return Ok((values, folder.map(|folder| folder.join(name))));
        }
        let shelf = self.places.pod.as_ref().map(|pod| pod.join(reference.shelf));
        let values = folder_values(shelf.as_deref(), &reference.folder)?;
        values.map(|values| (values, shelf.map(|shelf| shelf.join(&reference.folder)))).ok_or_else(|| {
            Unfound::Absent(format!(
                "the {kind} {name:?} is not among the given objects{}: add its manifest, or a folder {name} to {option}",
                nor(folder)
            ))
        })
    }

    /// The files of a service account: those of a Secret with its token, of a folder, or of the pod around this process.
    pub(super) fn service_account(&self, name: &str) -> Result<Values, Unfound> {
        let secrets = self.manifests.within("Secret", &self.machine.metadata.namespace);
        let token = secrets.filter_map(|document| match crate::admit(document, self.manifests).object {
            Object::Secret(secret) if secret.r#type == ACCOUNT_TOKEN => Some(secret),
            _ => None,
        });
        let mut own =
            token.filter(|secret| secret.metadata.annotations.get(ACCOUNT_NAME).is_some_and(|of| of == name));
        if let Some(secret) = own.next() {
            return Ok(secret.values());
        }
        let folder = self.places.secrets.as_deref();
        if let Some(values) = folder_values(folder, name)? {
            return Ok(values);
        }
        let pod = self.places.pod.as_ref().map(|_| read_folder(Path::new(POD_ACCOUNT)));
        pod.transpose()?.flatten().ok_or_else(|| {
            Unfound::Absent(format!(
                "the service account {name:?} has no token among the given objects{}: add a Secret of type \
                 {ACCOUNT_TOKEN} with the annotation {ACCOUNT_NAME}: {name}, or a folder {name} to --secrets",
                nor(folder)
            ))
        })
    }

    /// The files of a downward API volume, where a pod has them.
    pub(super) fn downward(&self, volume: &str) -> Result<Option<Values>, Unfound> {
        let shelf = self.places.pod.as_ref().map(|pod| pod.join("downwardapi"));
        folder_values(shelf.as_deref(), volume)
    }
}

/// ` nor in FOLDER`, of a folder that was looked into.
fn nor(folder: Option<&Path>) -> String {
    folder.map(|folder| format!(" nor in {}", folder.display())).unwrap_or_default()
}

/// The files of the folder `name` in a folder as values; `None` if there is no such folder.
fn folder_values(folder: Option<&Path>, name: &str) -> Result<Option<Values>, Unfound> {
    match (folder, plain_name(name)) {
        (Some(folder), Some(name)) => read_folder(&folder.join(name)),
        _ => Ok(None),
    }
}

/// The files of a folder as values; the kubelet's own entries (`..data`) are left out, and so are folders.
pub(super) fn read_folder(folder: &Path) -> Result<Option<Values>, Unfound> {
    let shown = |path: &Path, what: &str| Unfound::Bad(format!("{} {what}", path.display()));
    let unread = |path: &Path, error: io::Error| shown(path, &format!("cannot be read: {error}"));
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(|error| unread(folder, error))?,
    };
    let (mut values, mut total) = (Values::new(), 0);
    for entry in entries {
        let entry = entry.map_err(|error| unread(folder, error))?;
        let path = entry.path();
        let key =
            entry.file_name().into_string().map_err(|_| shown(&path, "has a name that is not UTF-8"))?;
        // The kubelet's own, which come and go while this reads.
        if key.starts_with("..") {
            continue;
        }
        let metadata = fs::metadata(&path).map_err(|error| unread(&path, error))?;
        if !metadata.is_file() {
            continue;
        }
        total += metadata.len();
        if total > MOST_BYTES {
            return Err(shown(folder, "holds more than 1 MiB, more than a Secret or ConfigMap can"));
        }
        let value = fs::read(&path).map_err(|error| unread(&path, error))?;
        values.insert(key, value);
    }
    Ok(Some(values))
}
