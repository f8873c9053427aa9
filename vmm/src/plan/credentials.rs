//! `spec.accessCredentials`, as far as the guest's agent puts them in. Those that go by cloud-init are on its disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spec::Resolved;
use spec::api::{AccessCredential, VirtualMachineInstance};

/// Keys or passwords that the guest's agent puts in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialPlan {
    /// The Secret that they are in.
    pub secret: String,
    /// The folder that the Secret was found in, to be read again when it changes.
    pub folder: Option<PathBuf>,
    /// What they are.
    pub kind: CredentialKind,
    /// The Secret's values. They are not shown, and not kept once the agent's thread has them.
    #[serde(skip)]
    pub values: BTreeMap<String, Vec<u8>>,
}

/// What the values of a Secret are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CredentialKind {
    /// Public keys for SSH of these users.
    SshKeys {
        /// Their names.
        users: Vec<String>,
    },
    /// Passwords; keys are the users' names.
    Passwords,
}

/// What the agent is to put in. Secrets that are missing were found out before.
pub(super) fn plan(vmi: &VirtualMachineInstance, resolved: &Resolved) -> Vec<CredentialPlan> {
    let credentials = vmi.spec.access_credentials.iter().filter_map(by_agent);
    let planned = credentials.map(|(secret, kind)| CredentialPlan {
        folder: resolved.secret_folders.get(secret).cloned(),
        values: resolved.secrets.get(secret).cloned().unwrap_or_default(),
        secret: secret.to_owned(),
        kind,
    });
    planned.collect()
}

fn by_agent(credential: &AccessCredential) -> Option<(&str, CredentialKind)> {
    if let Some(key) = &credential.ssh_public_key {
        let users = key.propagation_method.qemu_guest_agent.as_ref()?.users.clone();
        return Some((&key.source.secret.as_ref()?.secret_name, CredentialKind::SshKeys { users }));
    }
    let password = credential.user_password.as_ref()?;
    password.propagation_method.qemu_guest_agent.as_ref()?;
    Some((&password.source.secret.as_ref()?.secret_name, CredentialKind::Passwords))
}
