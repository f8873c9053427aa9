//! Everything that a machine refers to by name.

use crate::api::{LocalObjectReference, VirtualMachineInstance, Volume, VolumeSource};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Secret,
    ConfigMap,
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
        let key = credential.ssh_public_key.as_ref().filter(|key| key.propagation_method.no_cloud.is_some());
        if let Some(secret) = key.and_then(|key| key.source.secret.as_ref()) {
            let path = format!("spec.accessCredentials[{index}].sshPublicKey.source.secret");
            let folder = format!("{}-access-cred", secret.secret_name);
            all.push(Reference {
                kind: Kind::Secret,
                name: secret.secret_name.clone(),
                path,
                folder,
                optional: false,
            });
        }
    }
    all.retain(|reference| !reference.name.is_empty());
    all
}

fn of_volume(volume: &Volume, path: &str, all: &mut Vec<Reference>) {
    let mut add = |kind, name: &str, path: String, optional: bool| {
        all.push(Reference { kind, name: name.to_owned(), path, folder: volume.name.clone(), optional });
    };
    let name = |reference: &Option<LocalObjectReference>| {
        reference.as_ref().map(|reference| reference.name.clone()).unwrap_or_default()
    };
    match &volume.source {
        VolumeSource::PersistentVolumeClaim(claim) => add(Kind::Claim, &claim.claim_name, path.into(), false),
        VolumeSource::DataVolume(volume) => add(Kind::Claim, &volume.name, path.into(), false),
        VolumeSource::Ephemeral(source) => {
            if let Some(claim) = &source.persistent_volume_claim {
                add(Kind::Claim, &claim.claim_name, path.into(), false);
            }
        }
        VolumeSource::CloudInitNoCloud(source) | VolumeSource::CloudInitConfigDrive(source) => {
            add(Kind::Secret, &name(&source.secret_ref), format!("{path}.secretRef"), false);
            let path = format!("{path}.networkDataSecretRef");
            add(Kind::Secret, &name(&source.network_data_secret_ref), path, false);
        }
        VolumeSource::Secret(source) => {
            add(Kind::Secret, &source.secret_name, path.into(), source.optional == Some(true));
        }
        VolumeSource::ConfigMap(source) => {
            add(Kind::ConfigMap, &source.name, path.into(), source.optional == Some(true));
        }
        VolumeSource::Sysprep(source) => {
            add(Kind::Secret, &name(&source.secret), format!("{path}.secret"), false);
            add(Kind::ConfigMap, &name(&source.config_map), format!("{path}.configMap"), false);
        }
        _ => {}
    }
}
