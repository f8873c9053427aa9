//! Keys and passwords put into the guest.

use super::super::Findings;
use crate::api::{
    SshPublicKeyAccessCredential, UserPasswordAccessCredential, VirtualMachineInstanceSpec, VolumeSource,
};

pub(super) fn check(spec: &VirtualMachineInstanceSpec, findings: &mut Findings<'_>) {
    for (index, credential) in spec.access_credentials.iter().enumerate() {
        let path = format!("spec.accessCredentials[{index}]");
        if credential.ssh_public_key.is_some() == credential.user_password.is_some() {
            findings.invalid(path.clone(), "give exactly one of sshPublicKey and userPassword");
        }
        if let Some(key) = &credential.ssh_public_key {
            ssh_key_has_source_and_method(key, &format!("{path}.sshPublicKey"), findings);
            ssh_key_has_its_volume(key, spec, &format!("{path}.sshPublicKey"), findings);
        }
        if let Some(password) = &credential.user_password {
            password_has_source_and_method(password, &format!("{path}.userPassword"), findings);
        }
    }
}

fn ssh_key_has_source_and_method(
    key: &SshPublicKeyAccessCredential,
    path: &str,
    findings: &mut Findings<'_>,
) {
    let method = &key.propagation_method;
    if key.source.secret.is_none() {
        findings.invalid(format!("{path}.source"), "give the secret that holds the key");
    }
    let methods =
        [method.config_drive.is_some(), method.no_cloud.is_some(), method.qemu_guest_agent.is_some()];
    if methods.iter().filter(|given| **given).count() != 1 {
        let message = "give exactly one of noCloud, configDrive and qemuGuestAgent";
        findings.invalid(format!("{path}.propagationMethod"), message);
    }
    if method.qemu_guest_agent.as_ref().is_some_and(|agent| agent.users.is_empty()) {
        let path = format!("{path}.propagationMethod.qemuGuestAgent.users");
        findings.invalid(path, "give at least one user");
    }
}

/// A key that goes by cloud-init needs a cloud-init volume of that kind.
fn ssh_key_has_its_volume(
    key: &SshPublicKeyAccessCredential,
    spec: &VirtualMachineInstanceSpec,
    path: &str,
    findings: &mut Findings<'_>,
) {
    let has = |is_kind: fn(&VolumeSource) -> bool| spec.volumes.iter().any(|volume| is_kind(&volume.source));
    let method = &key.propagation_method;
    if method.no_cloud.is_some() && !has(|source| matches!(source, VolumeSource::CloudInitNoCloud(_))) {
        findings.invalid(format!("{path}.propagationMethod"), "noCloud needs a cloudInitNoCloud volume");
    }
    if method.config_drive.is_some() && !has(|source| matches!(source, VolumeSource::CloudInitConfigDrive(_)))
    {
        findings
            .invalid(format!("{path}.propagationMethod"), "configDrive needs a cloudInitConfigDrive volume");
    }
}

fn password_has_source_and_method(
    password: &UserPasswordAccessCredential,
    path: &str,
    findings: &mut Findings<'_>,
) {
    if password.source.secret.is_none() {
        findings.invalid(format!("{path}.source"), "give the secret that holds the password");
    }
    if password.propagation_method.qemu_guest_agent.is_none() {
        findings.invalid(format!("{path}.propagationMethod"), "give qemuGuestAgent");
    }
}
