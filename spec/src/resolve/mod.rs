//! Names become things: the Secrets, ConfigMaps, networks and claims that a machine refers to are looked up among the given
//! objects first, then in folders.

mod claims;
pub mod images;
mod networks;
mod references;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::api::VirtualMachineInstance;
use crate::cni::CniConfig;
use crate::source::Manifests;
use references::Kind;

/// The values of a Secret or ConfigMap by key.
pub type Values = BTreeMap<String, Vec<u8>>;

/// Folders that are looked into for what is not among the given objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Holds `<claim>/disk.img` (raw), `<claim>/disk.qcow2`, or a link to a block device named after the claim.
    pub volumes: Option<PathBuf>,
    /// Holds a folder for each Secret, with a file for each key.
    pub secrets: Option<PathBuf>,
    /// Holds a folder for each ConfigMap, with a file for each key.
    pub config_maps: Option<PathBuf>,
    /// The private folder of a KubeVirt pod, `/var/run/kubevirt-private`, where this process runs inside one. It holds
    /// `secret/<volume>`, `secret/<secret>-access-cred`, `config-map/<volume>`, `sysprep/<volume>`, `downwardapi/<volume>`
    /// and `vmi-disks/<volume>/disk.img`; a claim that is a block device is `/dev/<volume>`, and the service account's files
    /// are where every pod has them.
    pub pod: Option<PathBuf>,
}

/// A claim's storage on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// A raw disk image file.
    File(PathBuf),
    /// A qcow2 image file. Its name says so: what a guest may write is never asked what it is.
    Qcow2(PathBuf),
    /// A block device.
    Device(PathBuf),
    /// A raw image that is not there yet, and is made at the first start.
    New {
        /// Where, in a folder that may have to be made as well.
        image: PathBuf,
        /// The disk's size: the claim's, or less where the folder's file system has a little less room.
        bytes: u64,
    },
}

/// What a machine refers to, as far as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Secrets by name.
    pub secrets: BTreeMap<String, Values>,
    /// The folders that Secrets were found in, by name; those among the given objects have none.
    pub secret_folders: BTreeMap<String, PathBuf>,
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, Values>,
    /// Files of service accounts by name.
    pub service_accounts: BTreeMap<String, Values>,
    /// Files of downward API volumes by volume, where a pod has them.
    pub downward: BTreeMap<String, Values>,
    /// Claims by name; a DataVolume's has the DataVolume's name.
    pub claims: BTreeMap<String, Claim>,
    /// What the machine's networks of Multus are, by the networks' names; those whose NetworkAttachmentDefinition is among
    /// the given objects.
    pub networks: BTreeMap<String, CniConfig>,
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
    search.networks(&mut resolved);
    for reference in references::of(machine) {
        let name = reference.name.clone();
        let found = match reference.kind {
            Kind::Secret => search
                .secret(&reference)
                .map(|(values, folder)| {
                    resolved.secret_folders.extend(folder.map(|folder| (name.clone(), folder)));
                    resolved.secrets.insert(name, values);
                })
                .err(),
            Kind::ConfigMap => {
                let found = search.config_map(&reference);
                found.map(|(values, _)| resolved.config_maps.insert(name, values)).err()
            }
            Kind::ServiceAccount => search
                .service_account(&name)
                .map(|values| resolved.service_accounts.insert(name, values))
                .err(),
            Kind::Downward => search
                .downward(&name)
                .map(|values| {
                    // Facts that no pod has are made of the machine itself.
                    resolved.downward.extend(values.map(|values| (name, values)));
                })
                .err(),
            Kind::Claim => search.claim(&reference).map(|claim| resolved.claims.insert(name, claim)).err(),
        };
        match found {
            None => {}
            Some(Unfound::Absent(_)) if reference.optional => {}
            Some(Unfound::Absent(message) | Unfound::Bad(message)) => {
                resolved.missing.push(Missing { path: reference.path, message });
            }
        }
    }
    resolved
}

/// Reads a folder as a Secret or ConfigMap again: a file for each key. `None` if there is no such folder.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_values(folder: &Path) -> Result<Option<Values>, String> {
    values::read_folder(folder).map_err(|unfound| match unfound {
        Unfound::Absent(message) | Unfound::Bad(message) => message,
    })
}

/// Why there is nothing, and what to do about it.
#[derive(Debug)]
enum Unfound {
    /// It is not there, which what is optional need not be.
    Absent(String),
    /// It is there and cannot be used.
    Bad(String),
}

/// Where to look, and for whom.
struct Search<'a> {
    machine: &'a VirtualMachineInstance,
    manifests: &'a Manifests,
    places: &'a Places,
}

/// ` in FOLDER`, of a folder that was looked into.
fn within(folder: Option<&PathBuf>) -> String {
    folder.map(|folder| format!(" in {}", folder.display())).unwrap_or_default()
}

/// A name that stays within its folder.
fn plain_name(name: &str) -> Option<&str> {
    crate::formats::subdomain(name).is_none().then_some(name)
}

#[cfg(test)]
mod tests;
