//! What the manifests ask for.

use serde_json::Value;
use spec::{Cause, Document, Manifests, Object, Reason, Verdict};

use super::record::Key;
use super::strategy::Strategy;

/// An object that machines belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its key.
    pub key: Key,
    /// How its machines come about.
    pub owner: Owner,
    /// Seconds that its guests may take to power off.
    pub grace: u64,
    /// The object with KubeVirt's defaults.
    pub object: Value,
}

/// How the machines of an object come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A VirtualMachineInstance is its own machine and runs once.
    Instance,
    /// A VirtualMachine has one machine.
    Machine(Strategy),
    /// A replica set has equal machines that are replaced when they end.
    Set {
        /// What names of its machines begin with.
        base: String,
        /// How many, as the manifest says.
        replicas: u32,
        /// The number is left as it is.
        paused: bool,
    },
    /// A pool has numbered machines, each with a life of its own.
    Pool {
        /// When each of them runs.
        strategy: Strategy,
        /// How many, as the manifest says.
        replicas: u32,
        /// The number is left as it is.
        paused: bool,
    },
}

impl Owner {
    /// The object's kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Instance => "VirtualMachineInstance",
            Self::Machine(_) => "VirtualMachine",
            Self::Set { .. } => "VirtualMachineInstanceReplicaSet",
            Self::Pool { .. } => "VirtualMachinePool",
        }
    }
}

impl Wanted {
    /// Whether it has one machine, and never more.
    pub fn is_one(&self) -> bool {
        matches!(self.owner, Owner::Instance | Owner::Machine(_))
    }

    /// Kind and key: no other object of a fleet has the same.
    pub fn id(&self) -> String {
        format!("{}/{}", self.owner.kind(), self.key)
    }

    /// What an admitted object asks for; `None` if machines do not come of it.
    fn of(object: &Object) -> Option<Self> {
        let machine = object.machine()?;
        let key = Key { namespace: machine.namespace().to_owned(), name: machine.metadata.name.clone() };
        let count = |replicas: Option<i32>| u32::try_from(replicas.unwrap_or(1)).unwrap_or(0);
        let owner = match object {
            Object::VirtualMachineInstance(_) => Owner::Instance,
            Object::VirtualMachine(vm, _) => Owner::Machine(Strategy::of(&vm.spec)),
            Object::ReplicaSet(set, _) => {
                let template = &set.spec.template.metadata;
                let named =
                    [&template.name, &template.generate_name].into_iter().find(|name| !name.is_empty());
                Owner::Set {
                    base: named.unwrap_or(&key.name).clone(),
                    replicas: count(set.spec.replicas),
                    paused: set.spec.paused,
                }
            }
            Object::Pool(pool, _) => Owner::Pool {
                strategy: Strategy::of(&pool.spec.virtual_machine_template.spec),
                replicas: count(pool.spec.replicas),
                paused: pool.spec.paused,
            },
            _ => return None,
        };
        Some(Self { key, owner, grace: machine.grace_period_seconds(), object: object.to_json() })
    }
}

/// Everything that the manifests ask for, and what is to be said about each object.
pub fn wanted(manifests: &Manifests) -> (Vec<Wanted>, Vec<Verdict>) {
    let verdicts: Vec<Verdict> =
        manifests.documents.iter().map(|document| admit(document, manifests)).collect();
    (verdicts.iter().filter_map(|verdict| Wanted::of(&verdict.object)).collect(), verdicts)
}

/// Whether an object can be kept. A migration that was given another name by each supervisor would be begun by each.
fn admit(document: &Document, manifests: &Manifests) -> Verdict {
    let mut verdict = spec::admit(document, manifests);
    if let Object::Migration(migration) = &verdict.object
        && verdict.allowed
        && migration.metadata.name.is_empty()
    {
        let (field, path) = ("metadata.name".to_owned(), "metadata.generateName".to_owned());
        let message = "a fleet knows its migrations by their names: give one".to_owned();
        let location = document.locate(&path);
        verdict.causes.push(Cause { reason: Reason::NotSupported, field, path, message, location });
        verdict.allowed = false;
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: a}
spec: {domain: {devices: {}, memory: {guest: 64Mi}}}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: b, namespace: ns}
spec:
  runStrategy: RerunOnFailure
  template:
    spec: {terminationGracePeriodSeconds: 7, domain: {devices: {}, memory: {guest: 64Mi}}}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstanceReplicaSet
metadata: {name: c}
spec:
  replicas: 3
  selector: {matchLabels: {app: c}}
  template:
    metadata: {labels: {app: c}}
    spec: {domain: {devices: {}, memory: {guest: 64Mi}}}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
";

    #[test]
    fn every_object_that_has_machines_is_found() {
        let (wanted, verdicts) = wanted(&Manifests::parse("all.yaml", ALL).unwrap());
        assert_eq!(verdicts.len(), 4);
        let ids: Vec<_> = wanted.iter().map(Wanted::id).collect();
        let set = "VirtualMachineInstanceReplicaSet/default/c";
        assert_eq!(ids, ["VirtualMachineInstance/default/a", "VirtualMachine/ns/b", set]);
        assert_eq!(wanted[1].owner, Owner::Machine(Strategy::RerunOnFailure));
        assert_eq!(wanted[1].grace, 7);
        assert_eq!(wanted[2].owner, Owner::Set { base: "c".into(), replicas: 3, paused: false });
    }

    #[test]
    fn a_migration_without_a_name_is_not_kept() {
        let migration = |name: &str| {
            let text = format!(
                "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstanceMigration\nmetadata: {{{name}: a}}\nspec: {{vmiName: b}}\n"
            );
            let (_, verdicts) = wanted(&Manifests::parse("move.yaml", &text).unwrap());
            verdicts[0].causes.iter().map(|cause| cause.location.line()).collect::<Vec<_>>()
        };
        assert!(migration("name").is_empty());
        assert_eq!(migration("generateName"), [3]);
    }
}
