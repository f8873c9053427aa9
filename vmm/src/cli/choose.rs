//! Which machine of the manifests is meant.

use spec::{Document, Manifests, report};

use super::Failure;
use super::manifest::called;
use super::output::say;

/// Kinds that describe one machine.
const MACHINES: [&str; 2] = ["VirtualMachine", "VirtualMachineInstance"];
/// Kinds that describe many equal machines; one of them is run when it is asked for by name.
const TEMPLATES: [&str; 2] = ["VirtualMachineInstanceReplicaSet", "VirtualMachinePool"];

/// What they are called in full and in short.
const KINDS: [(&str, &str); 4] = [
    ("VirtualMachine", "vm"),
    ("VirtualMachineInstance", "vmi"),
    ("VirtualMachineInstanceReplicaSet", "vmirs"),
    ("VirtualMachinePool", "vmpool"),
];

/// The one machine of the manifests, or the one called `name`. Where there is none, what is wrong with the manifests
/// is said.
pub(super) fn choose<'a>(manifests: &'a Manifests, name: Option<&str>) -> Result<&'a Document, Failure> {
    let machines = of_kinds(manifests, &MACHINES);
    let templates = of_kinds(manifests, &TEMPLATES);
    match (name, machines.as_slice()) {
        (None, [one]) => Ok(one),
        (None, []) => {
            say_faults(manifests);
            Err(Failure::NoMachine { found: found(manifests), hint: hint(&templates) })
        }
        (None, several) => Err(Failure::Usage(format!(
            "the manifests hold several machines; choose one with --name: {}",
            names(several)
        ))),
        (Some(name), _) => {
            let all: Vec<_> = machines.into_iter().chain(templates).collect();
            let meant = Meant::parse(name);
            all.iter().find(|document| meant.is(document)).copied().ok_or_else(|| {
                say_faults(manifests);
                match all.as_slice() {
                    [] => Failure::NoMachine { found: found(manifests), hint: String::new() },
                    all => {
                        Failure::Usage(format!("the manifests hold no machine {name:?}, but: {}", names(all)))
                    }
                }
            })
        }
    }
}

/// An object as the command line names it: `[KIND/][NAMESPACE/]NAME`.
struct Meant<'a> {
    kind: Option<&'a str>,
    namespace: Option<&'a str>,
    name: &'a str,
}

impl<'a> Meant<'a> {
    fn parse(text: &'a str) -> Self {
        let kind = |word: &str| {
            KINDS.iter().find(|(kind, short)| [*kind, *short].contains(&word)).map(|(kind, _)| *kind)
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [first, name] if kind(first).is_some() => Self { kind: kind(first), namespace: None, name },
            [namespace, name] => Self { kind: None, namespace: Some(namespace), name },
            [first, namespace, name] => {
                Self { kind: Some(kind(first).unwrap_or(first)), namespace: Some(namespace), name }
            }
            _ => Self { kind: None, namespace: None, name: text },
        }
    }

    fn is(&self, document: &Document) -> bool {
        document.name() == self.name
            && self.kind.is_none_or(|kind| document.kind() == kind)
            && self.namespace.is_none_or(|namespace| match document.namespace() {
                "" => namespace == "default",
                other => namespace == other,
            })
    }
}

fn of_kinds<'a>(manifests: &'a Manifests, kinds: &[&str]) -> Vec<&'a Document> {
    manifests.documents.iter().filter(|document| kinds.contains(&document.kind())).collect()
}

fn names(documents: &[&Document]) -> String {
    documents.iter().map(|document| document.name()).collect::<Vec<_>>().join(", ")
}

fn found(manifests: &Manifests) -> String {
    manifests.documents.iter().map(called).collect::<Vec<_>>().join(", ")
}

fn hint(templates: &[&Document]) -> String {
    match templates.first() {
        Some(first) => format!("; --name {} runs one of its machines", first.name()),
        None => String::new(),
    }
}

/// Says what is wrong with objects that are no machines: perhaps one was meant to be.
fn say_faults(manifests: &Manifests) {
    let others = manifests.documents.iter().filter(|document| !MACHINES.contains(&document.kind()));
    for document in others {
        let mut verdict = spec::admit(document, manifests);
        verdict.warnings.clear();
        say(&report::text(&verdict));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifests(kinds: &[(&str, &str)]) -> Manifests {
        let document =
            |(kind, name): &(&str, &str)| format!("---\nkind: {kind}\nmetadata: {{name: {name}}}\n");
        let text: String = kinds.iter().map(document).collect();
        Manifests::parse("some.yaml", &text).unwrap()
    }

    #[test]
    fn the_only_machine_is_meant() {
        let some =
            manifests(&[("Secret", "s"), ("VirtualMachine", "a"), ("VirtualMachineInstanceReplicaSet", "r")]);
        assert_eq!(choose(&some, None).unwrap().name(), "a");
        assert_eq!(choose(&some, Some("r")).unwrap().name(), "r");
        let Err(Failure::Usage(message)) = choose(&some, Some("s")) else { panic!() };
        assert!(message.contains("a, r"), "{message}");
    }

    #[test]
    fn one_of_several_needs_a_name() {
        let some = manifests(&[("VirtualMachine", "a"), ("VirtualMachineInstance", "b")]);
        assert!(matches!(choose(&some, None), Err(Failure::Usage(message)) if message.contains("a, b")));
        assert_eq!(choose(&some, Some("b")).unwrap().name(), "b");
    }

    #[test]
    fn a_name_may_say_more() {
        let some = Manifests::parse(
            "some.yaml",
            "kind: VirtualMachine\nmetadata: {name: a}\n---\nkind: VirtualMachine\nmetadata: {name: a, namespace: ns}\n---\n\
             kind: VirtualMachinePool\nmetadata: {name: a}\n",
        )
        .unwrap();
        let number = |name: &str| choose(&some, Some(name)).map(|document| document.number()).ok();
        for (name, expected) in [
            ("a", Some(1)),
            ("ns/a", Some(2)),
            ("default/a", Some(1)),
            ("vmpool/a", Some(3)),
            ("VirtualMachine/ns/a", Some(2)),
            ("VirtualMachinePool/ns/a", None),
            ("x/a", None),
        ] {
            assert_eq!(number(name), expected, "{name}");
        }
    }

    #[test]
    fn none_is_a_fault_of_the_manifests() {
        let error = choose(&manifests(&[("VirtualMachin", "a")]), None).unwrap_err();
        assert!(matches!(&error, Failure::NoMachine { .. }));
        assert!(error.to_string().contains("VirtualMachin a"), "{error}");
        let error = choose(&manifests(&[("VirtualMachinePool", "p")]), None).unwrap_err();
        assert!(error.to_string().contains("--name p"), "{error}");
    }
}
