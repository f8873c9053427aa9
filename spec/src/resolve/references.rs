//! Everything that a machine refers to by name.

use crate::api::{LocalObjectReference, VirtualMachineInstance, Volume, VolumeSource};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Secret,
    ConfigMap,
    ServiceAccount,
    Downward,
    Claim,
}

/// A reference of a machine to something by name.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Where the machine refers to it.
    pub(super) path: String,
    /// The folder that a pod of KubeVirt has it under.
    pub(super) folder: String,
    /// The folder that such folders are in.
    pub(super) shelf: &'static str,
    /// The machine can do without.
    pub(super) optional: bool,
}

/// All references, in the order of the manifest's lists. Empty names are none.
pub(super) fn of(machine: &VirtualMachineInstance) -> Vec<Reference> {
    let mut all = Vec::new();
    for (index, volume) in machine.spec.volumes.iter().enumerate() {
        let key = volume.source.key().unwrap_or_default();
        of_volume(volume, &format!("spec.volumes[{index}].{key}"), &mut all);
    }
    for (index, credential) in machine.spec.access_credentials.iter().enumerate() {
        let key = credential.ssh_public_key.as_ref().map(|key| ("sshPublicKey", &key.source));
        let password = credential.user_password.as_ref().map(|password| ("userPassword", &password.source));
        for (kind, source) in key.into_iter().chain(password) {
            let Some(secret) = source.secret.as_ref() else { continue };
            let path = format!("spec.accessCredentials[{index}].{kind}.source.secret");
            let folder = format!("{}-access-cred", secret.secret_name);
            all.push(Reference {
                kind: Kind::Secret,
                name: secret.secret_name.clone(),
                path,
                folder,
                shelf: "secret",
                optional: false,
            });
        }
    }
    all.retain(|reference| !reference.name.is_empty());
    all
}

fn of_volume(volume: &Volume, path: &str, all: &mut Vec<Reference>) {
    let mut add = |kind, name: &str, key: &str, optional: bool| {
        let shelf = match (&volume.source, kind) {
            (VolumeSource::Sysprep(_), _) => "sysprep",
            (_, Kind::ConfigMap) => "config-map",
            _ => "secret",
        };
        all.push(Reference {
            kind,
            name: name.to_owned(),
            path: format!("{path}{key}"),
            folder: volume.name.clone(),
            shelf,
            optional,
        });
    };
    let name = |reference: &Option<LocalObjectReference>| {
        reference.as_ref().map(|reference| reference.name.clone()).unwrap_or_default()
    };
    match &volume.source {
        VolumeSource::PersistentVolumeClaim(claim) => add(Kind::Claim, &claim.claim_name, "", false),
        VolumeSource::DataVolume(volume) => add(Kind::Claim, &volume.name, "", false),
        VolumeSource::Ephemeral(source) => {
            if let Some(claim) = &source.persistent_volume_claim {
                add(Kind::Claim, &claim.claim_name, ".persistentVolumeClaim", false);
            }
        }
        VolumeSource::CloudInitNoCloud(source) | VolumeSource::CloudInitConfigDrive(source) => {
            add(Kind::Secret, &name(&source.secret_ref), ".secretRef", false);
            add(Kind::Secret, &name(&source.network_data_secret_ref), ".networkDataSecretRef", false);
        }
        VolumeSource::Secret(source) => {
            add(Kind::Secret, &source.secret_name, "", source.optional == Some(true));
        }
        VolumeSource::ConfigMap(source) => {
            add(Kind::ConfigMap, &source.name, "", source.optional == Some(true));
        }
        VolumeSource::ServiceAccount(source) => {
            add(Kind::ServiceAccount, &source.service_account_name, "", false);
        }
        VolumeSource::DownwardApi(_) => add(Kind::Downward, &volume.name, "", false),
        VolumeSource::Sysprep(source) => {
            add(Kind::Secret, &name(&source.secret), ".secret", false);
            add(Kind::ConfigMap, &name(&source.config_map), ".configMap", false);
        }
        _ => {}
    }
}
