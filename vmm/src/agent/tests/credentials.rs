//! Keys and passwords that are put in.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::{Value, json};

use super::peer::Setup;
use crate::agent::AgentReport;
use crate::plan::{CredentialKind, CredentialPlan};

fn values(values: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    values.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

fn synchronized(setup: &Setup) -> Result<(), String> {
    setup.report_of(|report| match report {
        AgentReport::Credentials(result) => Some(result),
        _ => None,
    })
}

#[test]
fn keys_and_passwords_are_put_in_and_follow_their_secret() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("laptop"), "ssh-ed25519 AAAA me\n# no key\n\nssh-rsa BBBB me\n")
        .unwrap();
    let keys = CredentialPlan {
        secret: "keys".into(),
        folder: Some(folder.path().to_owned()),
        kind: CredentialKind::SshKeys { users: vec!["root".into(), "debian".into()] },
        values: BTreeMap::new(),
    };
    let passwords = CredentialPlan {
        secret: "passwords".into(),
        folder: None,
        kind: CredentialKind::Passwords,
        values: values(&[("debian", "geheim\n"), ("nobody", "")]),
    };
    let (sender, told) = channel();
    let (setup, _) = Setup::with_credentials(vec![keys, passwords]).opened(move |peer| {
        peer.answer_all(move |name, arguments| {
            if name.starts_with("guest-ssh") || name == "guest-set-user-password" {
                sender.send((name.to_owned(), arguments.clone())).unwrap();
            }
            Value::Null
        });
    });
    assert_eq!(synchronized(&setup), Ok(()));
    let first: Vec<_> = told.try_iter().collect();
    let set = |user: &str, keys: &[&str]| {
        let arguments = json!({ "username": user, "keys": keys, "reset": true });
        ("guest-ssh-add-authorized-keys".to_owned(), arguments)
    };
    assert_eq!(first[0], set("debian", &["ssh-ed25519 AAAA me", "ssh-rsa BBBB me"]));
    assert_eq!(first[1], set("root", &["ssh-ed25519 AAAA me", "ssh-rsa BBBB me"]));
    let password = json!({ "username": "debian", "password": "Z2VoZWlt", "crypted": false });
    assert_eq!(first[2..], [("guest-set-user-password".to_owned(), password)]);

    std::fs::write(folder.path().join("laptop"), "ssh-ed25519 CCCC me\n").unwrap();
    assert_eq!(synchronized(&setup), Ok(()));
    assert_eq!(told.recv_timeout(Duration::from_secs(60)).unwrap(), set("debian", &["ssh-ed25519 CCCC me"]));
}

#[test]
fn what_cannot_be_put_in_is_told() {
    let credential = CredentialPlan {
        secret: "passwords".into(),
        folder: Some("/no/such/folder".into()),
        kind: CredentialKind::Passwords,
        values: values(&[("debian", "geheim")]),
    };
    let (setup, _) = Setup::with_credentials(vec![credential]).opened(|peer| {
        peer.answer_all(|name, _| match name {
            "guest-set-user-password" => {
                json!({ "error": { "class": "GenericError", "desc": "no chpasswd" } })
            }
            _ => Value::Null,
        });
    });
    let fault = synchronized(&setup).unwrap_err();
    assert!(fault.contains("user debian") && fault.contains("no chpasswd"), "{fault}");
    assert!(fault.contains("is gone"), "{fault}");
}
