//! Orders to move a machine as KubeVirt's objects: admitted, named, and made where there is none.

use std::io;

use serde_json::{Value, json};
use spec::api::VirtualMachineInstanceMigration;
use spec::{Manifests, Object};

use super::random;
use crate::sys::line::random_uuid;

/// Why an object is no order.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It is no object of the kind.
    #[error("{0}")]
    Odd(String),
    /// KubeVirt would refuse it.
    #[error("{0}")]
    Refused(String),
    /// The host has no random numbers.
    #[error("the object cannot be given a name")]
    Host(#[from] io::Error),
}

/// An object as KubeVirt admits it, with a name and an ID.
///
/// # Errors
/// It makes no sense.
pub fn admit(mut object: Value) -> Result<VirtualMachineInstanceMigration, ObjectError> {
    name(&mut object)?;
    let manifests = Manifests::parse("the object", &object.to_string()).map_err(|errors| {
        let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
        ObjectError::Odd(all.join("; "))
    })?;
    let odd = |text: &str| ObjectError::Odd(text.to_owned());
    let document = manifests.documents.first().ok_or_else(|| odd("there is no object"))?;
    let verdict = spec::admit(document, &manifests);
    if !verdict.allowed {
        let causes: Vec<_> =
            verdict.causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        return Err(ObjectError::Refused(causes.join("; ")));
    }
    match verdict.object {
        Object::Migration(mut migration) => {
            // Whoever has given it one knows it by that.
            if migration.metadata.uid.is_empty() {
                migration.metadata.uid = random_uuid();
            }
            if migration.metadata.uid.is_empty() {
                return Err(ObjectError::Host(io::ErrorKind::NotFound.into()));
            }
            Ok(*migration)
        }
        _ => Err(odd("the object is no VirtualMachineInstanceMigration")),
    }
}

/// The object of a migration that is ordered in another way, as virtctl has KubeVirt make one.
pub fn implied(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceMigration",
        "metadata": {"generateName": "kubevirt-migrate-vm-", "namespace": namespace},
        "spec": {"vmiName": name},
    })
}

/// The object by which a machine leaves a host that is to be empty.
///
/// # Errors
/// The host has no random numbers.
pub fn evacuation(namespace: &str, name: &str) -> Result<VirtualMachineInstanceMigration, ObjectError> {
    let mut object = implied(namespace, name);
    object["metadata"]["generateName"] = json!("kubevirt-evacuation-");
    object["spec"]["priority"] = json!("system-critical");
    admit(object)
}

/// How much of the beginning of a name Kubernetes takes.
const LONGEST: usize = 63 - RANDOM;
/// How many letters it adds.
const RANDOM: usize = 5;

/// Gives an object that has only the beginning of a name a whole one, as Kubernetes does.
fn name(object: &mut Value) -> io::Result<()> {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return Ok(()) };
    let is_named = metadata.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    let Some(Value::String(base)) = metadata.remove("generateName").filter(|_| !is_named) else {
        return Ok(());
    };
    let random = random()?;
    let letter =
        |byte: &u8| LETTERS.get(usize::from(*byte) % LETTERS.len()).map(|letter| char::from(*letter));
    let base: String = base.chars().take(LONGEST).collect();
    let rest: String = random.iter().take(RANDOM).filter_map(letter).collect();
    metadata.insert("name".into(), format!("{base}{rest}").into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_given_names_and_ids() {
        let one = admit(implied("ns", "vm")).unwrap();
        let other = admit(implied("ns", "vm")).unwrap();
        assert!(
            one.metadata.name.starts_with("kubevirt-migrate-vm-") && one.metadata.generate_name.is_empty()
        );
        assert_ne!(one.metadata.uid, other.metadata.uid);
        assert_ne!(one.metadata.name, other.metadata.name);
        let mut long = implied("ns", "vm");
        long["metadata"]["generateName"] = json!("m".repeat(100));
        assert_eq!(admit(long).unwrap().metadata.name.len(), 63);
        assert_eq!((one.metadata.uid.len(), one.metadata.uid.as_bytes()[14]), (36, b'4'));
        let mut named = implied("ns", "vm");
        named["metadata"]["name"] = json!("m");
        assert_eq!(admit(named).unwrap().metadata.name, "m");
        assert!(evacuation("ns", "vm").unwrap().metadata.name.starts_with("kubevirt-evacuation-"));
    }

    #[test]
    fn what_is_no_order_is_refused() {
        let mut nameless = implied("ns", "vm");
        nameless["spec"] = json!({});
        assert!(matches!(admit(nameless), Err(ObjectError::Refused(_))));
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
        assert!(matches!(admit(secret), Err(ObjectError::Odd(_))));
        assert!(matches!(admit(json!(3)), Err(ObjectError::Odd(_) | ObjectError::Refused(_))));
    }
}
