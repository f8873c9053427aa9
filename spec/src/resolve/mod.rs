//! Names become things: the Secrets, ConfigMaps and claims that a machine refers to are looked up among the given
//! objects first, then in folders.

mod references;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::admit::Object;
use crate::api::{ConfigMap, Secret, VirtualMachineInstance};
use crate::source::Manifests;
use references::{Kind, Reference};

/// The values of a Secret or ConfigMap by key.
pub type Values = BTreeMap<String, Vec<u8>>;

/// The most bytes read of one value, as in a cluster: a whole Secret has at most 1 MiB.
const MOST_BYTES: u64 = 1 << 20;

/// Folders that are looked into for what is not among the given objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Holds `<claim>/disk.img`, or a link to a block device named after the claim.
    pub volumes: Option<PathBuf>,
    /// Holds a folder for each Secret, with a file for each key.
    pub secrets: Option<PathBuf>,
    /// Holds a folder for each ConfigMap, with a file for each key.
    pub config_maps: Option<PathBuf>,
    /// The private folder of a KubeVirt pod, `/var/run/kubevirt-private`, where this process runs inside one. It holds
    /// `secret/<volume>`, `secret/<secret>-access-cred`, `config-map/<volume>` and `vmi-disks/<volume>/disk.img`; a claim
    /// that is a block device is `/dev/<volume>`.
    pub pod: Option<PathBuf>,
}

/// A claim's storage on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// A disk image file.
    File(PathBuf),
    /// A block device.
    Device(PathBuf),
}

/// What a machine refers to, as far as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Secrets by name.
    pub secrets: BTreeMap<String, Values>,
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, Values>,
    /// Claims by name; a DataVolume's has the DataVolume's name.
    pub claims: BTreeMap<String, Claim>,
    /// What was not found.
    pub missing: Vec<Missing>,
}

/// Something that a machine refers to and that was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Where the machine refers to it, from the top of the instance, e.g. `spec.volumes[0].persistentVolumeClaim`.
    pub path: String,
    /// What is missing, and how to supply it.
    pub message: String,
}

/// Looks up everything that the machine refers to.
pub fn resolve(machine: &VirtualMachineInstance, manifests: &Manifests, places: &Places) -> Resolved {
    let mut resolved = Resolved::default();
    let search = Search { machine, manifests, places };
    for reference in references::of(machine) {
        let found = match reference.kind {
            Kind::Secret => search.secret(&reference).map(|values| {
                resolved.secrets.insert(reference.name.clone(), values);
            }),
            Kind::ConfigMap => search.config_map(&reference).map(|values| {
                resolved.config_maps.insert(reference.name.clone(), values);
            }),
            Kind::Claim => search.claim(&reference).map(|claim| {
                resolved.claims.insert(reference.name.clone(), claim);
            }),
        };
        if found.is_none() && !reference.optional {
            resolved.missing.push(missing(reference, places));
        }
    }
    resolved
}

fn missing(reference: Reference, places: &Places) -> Missing {
    let Reference { kind, name, path, .. } = reference;
    let shown = |folder: &Option<PathBuf>| folder.as_ref().map(|folder| format!(" in {}", folder.display()));
    let message = match kind {
        Kind::Secret => format!(
            "the Secret {name:?} is not among the given objects{}: add its manifest, or a folder {name} to --secrets",
            shown(&places.secrets).map(|place| format!(" nor{place}")).unwrap_or_default()
        ),
        Kind::ConfigMap => format!(
            "the ConfigMap {name:?} is not among the given objects{}: add its manifest, or a folder {name} to --configmaps",
            shown(&places.config_maps).map(|place| format!(" nor{place}")).unwrap_or_default()
        ),
        Kind::Claim => format!(
            "the claim {name:?} is not there{}: put {name}/disk.img, or a link to a block device named {name}, into \
             --volumes",
            shown(&places.volumes).unwrap_or_default()
        ),
    };
    Missing { path, message }
}

struct Search<'a> {
    machine: &'a VirtualMachineInstance,
    manifests: &'a Manifests,
    places: &'a Places,
}

impl Search<'_> {
    fn object(&self, kind: &str, name: &str) -> Option<Object> {
        let document = self.manifests.find(kind, &self.machine.metadata.namespace, name)?;
        Some(crate::admit(document, self.manifests).object)
    }

    fn secret(&self, reference: &Reference) -> Option<Values> {
        match self.object("Secret", &reference.name) {
            Some(Object::Secret(secret)) => Some(Secret::values(&secret)),
            _ => folder_values(self.places.secrets.as_deref(), &reference.name)
                .or_else(|| folder_values(self.pod("secret").as_deref(), &reference.folder)),
        }
    }

    fn config_map(&self, reference: &Reference) -> Option<Values> {
        match self.object("ConfigMap", &reference.name) {
            Some(Object::ConfigMap(map)) => Some(ConfigMap::values(&map)),
            _ => folder_values(self.places.config_maps.as_deref(), &reference.name)
                .or_else(|| folder_values(self.pod("config-map").as_deref(), &reference.folder)),
        }
    }

    fn claim(&self, reference: &Reference) -> Option<Claim> {
        let named = || storage(&self.places.volumes.as_deref()?.join(plain_name(&reference.name)?));
        let mounted = || storage(&self.pod("vmi-disks")?.join(plain_name(&reference.folder)?));
        let device = || {
            self.places.pod.as_ref()?;
            storage(&Path::new("/dev").join(plain_name(&reference.folder)?))
        };
        named().or_else(mounted).or_else(device)
    }

    fn pod(&self, folder: &str) -> Option<PathBuf> {
        self.places.pod.as_ref().map(|pod| pod.join(folder))
    }
}

/// The storage at a path: a folder with an image, or a block device.
fn storage(path: &Path) -> Option<Claim> {
    use std::os::unix::fs::FileTypeExt;
    let metadata = fs::metadata(path).ok()?;
    if metadata.is_dir() {
        let image = path.join("disk.img");
        return fs::metadata(&image).ok()?.is_file().then_some(Claim::File(image));
    }
    metadata.file_type().is_block_device().then(|| Claim::Device(path.to_owned()))
}

/// A name that stays within its folder.
fn plain_name(name: &str) -> Option<&str> {
    crate::formats::subdomain(name).is_none().then_some(name)
}

/// The files of a folder as values; the kubelet's own entries (`..data`) are left out.
fn folder_values(folder: Option<&Path>, name: &str) -> Option<Values> {
    let mut values = Values::new();
    for entry in fs::read_dir(folder?.join(plain_name(name)?)).ok()? {
        let path = entry.ok()?.path();
        let key = path.file_name()?.to_str()?.to_owned();
        let metadata = fs::metadata(&path).ok()?;
        if !key.starts_with("..") && metadata.is_file() && metadata.len() <= MOST_BYTES {
            values.insert(key, fs::read(&path).ok()?);
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: x}
spec:
  domain: {memory: {guest: 1Gi}, devices: {}}
  volumes:
  - {name: a, persistentVolumeClaim: {claimName: there}}
  - {name: b, dataVolume: {name: gone}}
  - {name: c, cloudInitNoCloud: {secretRef: {name: given}, networkDataSecretRef: {name: filed}}}
  - {name: d, configMap: {name: maybe, optional: true}}
  - {name: e, secret: {secretName: ../../etc}}
---
apiVersion: v1
kind: Secret
metadata: {name: given}
stringData: {userdata: hello}
";

    #[test]
    fn names_are_found_among_objects_and_in_folders() {
        let folder = tempfile::tempdir().unwrap();
        let (volumes, secrets) = (folder.path().join("volumes"), folder.path().join("secrets"));
        fs::create_dir_all(volumes.join("there")).unwrap();
        fs::write(volumes.join("there/disk.img"), "").unwrap();
        fs::create_dir_all(secrets.join("filed/..data")).unwrap();
        fs::write(secrets.join("filed/networkdata"), "net").unwrap();
        let manifests = Manifests::parse("x", MACHINE).unwrap();
        let verdict = crate::admit(&manifests.documents[0], &manifests);
        let pod = folder.path().join("private");
        fs::create_dir_all(pod.join("vmi-disks/b")).unwrap();
        let places = Places {
            volumes: Some(volumes.clone()),
            secrets: Some(secrets),
            pod: Some(pod.clone()),
            ..Places::default()
        };
        let resolved = resolve(verdict.machine().unwrap(), &manifests, &places);
        assert_eq!(resolved.claims["there"], Claim::File(volumes.join("there/disk.img")));
        assert_eq!(resolved.secrets["given"]["userdata"], b"hello");
        assert_eq!(resolved.secrets["filed"].len(), 1);
        let missing: Vec<_> = resolved.missing.iter().map(|missing| missing.path.as_str()).collect();
        assert_eq!(missing, ["spec.volumes[1].dataVolume", "spec.volumes[4].secret"]);
        assert!(resolved.missing[0].message.contains("put gone/disk.img"), "{}", resolved.missing[0].message);

        let mut verdict = verdict;
        verdict.miss(&manifests.documents[0], &resolved.missing, true);
        assert!(!verdict.allowed);
        assert_eq!(verdict.causes[0].location.to_string(), "x:9:15");

        fs::write(pod.join("vmi-disks/b/disk.img"), "").unwrap();
        let resolved = resolve(verdict.machine().unwrap(), &manifests, &places);
        assert_eq!(resolved.claims["gone"], Claim::File(pod.join("vmi-disks/b/disk.img")));
    }
}
