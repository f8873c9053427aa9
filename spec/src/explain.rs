//! `kubevmm explain`: a field's type, default, meaning and status.

use std::fmt;

use serde_json::{Value, json};

use crate::api::kind::{Field, ObjectType};
use crate::api::{ROOTS, Root, nearest};
use crate::support::{Status, list};

/// What is to be said of a field or a kind.
#[derive(Debug)]
pub struct Explanation {
    kind: &'static str,
    path: String,
    field: Option<(&'static Field, Status)>,
    object: Option<&'static ObjectType>,
}

/// Why a path cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The path is empty.
    #[error("give a field, e.g. vmi.spec.domain.memory.guest; the kinds are {}", kinds())]
    Empty,
    /// There is no such kind.
    #[error(
        "{name:?} is no kind{}, and no field of a VirtualMachineInstance; the kinds are {}",
        near(hint),
        kinds()
    )]
    NoSuchKind {
        /// The unknown name.
        name: String,
        /// A known name like it.
        hint: Option<&'static str>,
    },
    /// There is no such field.
    #[error("{parent} has no field {name:?}{}", hint.map(|hint| format!(": did you mean {hint:?}?")).unwrap_or_default())]
    NoSuchField {
        /// The part of the path that is known.
        parent: String,
        /// The unknown name.
        name: String,
        /// A known name like it.
        hint: Option<&'static str>,
    },
}

fn near(hint: &Option<&str>) -> String {
    hint.map(|hint| format!(" (there is {hint:?})")).unwrap_or_default()
}

fn kinds() -> String {
    let short = |root: &Root| root.aliases.first().copied().unwrap_or(root.kind).to_owned();
    ROOTS.iter().map(short).collect::<Vec<_>>().join(", ")
}

/// Explains a path such as `vmi.spec.domain.devices.disks.cache`. It begins with a kind, in full or in short; without
/// one it is a VirtualMachineInstance's. Indices are left out of account.
///
/// # Errors
/// There is no such field; a known name like it is given.
pub fn explain(path: &str) -> Result<Explanation, ExplainError> {
    let steps: Vec<&str> = path.split('.').map(|step| step.split('[').next().unwrap_or(step)).collect();
    let (first, rest) =
        steps.split_first().filter(|(first, _)| !first.is_empty()).ok_or(ExplainError::Empty)?;
    let (root, names) = match Root::find(first) {
        Some(root) => (root, rest),
        None => (ROOTS.first().ok_or(ExplainError::Empty)?, steps.as_slice()),
    };
    let mut object = root.object.object();
    if Root::find(first).is_none() && object.is_some_and(|object| object.field(first).is_none()) {
        return Err(no_such_kind(first, object));
    }
    let mut known = root.kind.to_owned();
    for name in names {
        let field =
            object.and_then(|object| object.field(name)).ok_or_else(|| ExplainError::NoSuchField {
                parent: known.clone(),
                name: (*name).to_owned(),
                hint: object.and_then(|object| nearest(name, object.fields().map(|field| field.name))),
            })?;
        known = format!("{known}.{}", field.name);
        object = field.kind.object();
    }
    let path = names.join(".");
    let entry = list(&root.object).into_iter().find(|entry| entry.path == path);
    Ok(Explanation { kind: root.kind, path, field: entry.map(|entry| (entry.field, entry.status)), object })
}

impl Explanation {
    /// The same for programs: `kind`, `field`, `type`, `required`, `default`, `status`, `note`, `meaning` and, of an
    /// object, its `fields`. What there is none of is left out.
    pub fn json(&self) -> Value {
        let mut value = json!({ "kind": self.kind });
        if let Some((field, status)) = &self.field {
            value["field"] = json!(self.path);
            describe(field, &mut value);
            value["status"] = json!(status.word());
            match status {
                Status::Warning(note) | Status::NotSupported(note) => value["note"] = json!(note),
                Status::As(path) => value["note"] = json!(path),
                Status::Honoured | Status::Cluster => {}
            }
        } else if let Some(object) = self.object {
            value["meaning"] = json!(sentence(object.doc));
        }
        let part = |field: &'static Field| {
            let mut value = json!({ "name": field.name });
            describe(field, &mut value);
            value
        };
        let fields: Vec<Value> = self.object.into_iter().flat_map(ObjectType::fields).map(part).collect();
        if !fields.is_empty() {
            value["fields"] = json!(fields);
        }
        value
    }
}

/// What a field is, without where it stands.
fn describe(field: &Field, value: &mut Value) {
    value["type"] = json!(field.kind.describe().to_string());
    value["required"] = json!(field.required);
    if !field.default.is_empty() {
        value["default"] = json!(field.default);
    }
    value["meaning"] = json!(sentence(field.doc));
}

/// A first step that is neither a kind nor a field.
fn no_such_kind(name: &str, object: Option<&'static ObjectType>) -> ExplainError {
    let names = ROOTS.iter().flat_map(|root| std::iter::once(root.kind).chain(root.aliases.iter().copied()));
    let fields = object.into_iter().flat_map(|object| object.fields().map(|field| field.name));
    ExplainError::NoSuchKind { name: name.to_owned(), hint: nearest(name, names.chain(fields)) }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "KIND:     {}", self.kind)?;
        if let Some((field, status)) = &self.field {
            writeln!(f, "FIELD:    {}", self.path)?;
            writeln!(
                f,
                "TYPE:     {}{}",
                field.kind.describe(),
                if field.required { ", required" } else { "" }
            )?;
            if !field.default.is_empty() {
                writeln!(f, "DEFAULT:  {}", field.default)?;
            }
            write!(f, "STATUS:   {}", status.word())?;
            match status {
                Status::Warning(note) | Status::NotSupported(note) => writeln!(f, " ({note})")?,
                Status::As(path) => writeln!(f, " ({path})")?,
                Status::Honoured | Status::Cluster => writeln!(f)?,
            }
            writeln!(f, "\n{}", sentence(field.doc))?;
        } else if let Some(object) = self.object {
            writeln!(f, "\n{}", sentence(object.doc))?;
        }
        let Some(object) = self.object.filter(|object| object.fields().next().is_some()) else {
            return Ok(());
        };
        writeln!(f, "\nFIELDS:")?;
        let width = object.fields().map(|field| field.name.len()).max().unwrap_or(0);
        for field in object.fields() {
            let required = if field.required { " (required)" } else { "" };
            writeln!(
                f,
                "  {:width$}  {}{required}: {}",
                field.name,
                field.kind.describe(),
                sentence(field.doc)
            )?;
        }
        Ok(())
    }
}

/// The lines of a doc comment as one line.
fn sentence(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_explained() {
        let text = explain("vmi.spec.domain.devices.disks[0].cache").unwrap().to_string();
        assert_eq!(
            text,
            "KIND:     VirtualMachineInstance\n\
             FIELD:    spec.domain.devices.disks.cache\n\
             TYPE:     string, one of: none, writethrough, writeback\n\
             DEFAULT:  none where the file allows direct I/O, else writethrough\n\
             STATUS:   honoured\n\nHow the host caches the disk.\n"
        );
    }

    #[test]
    fn an_object_lists_its_fields() {
        let text = explain("spec.domain.cpu").unwrap().to_string();
        assert!(text.contains("TYPE:     Cpu\n"), "{text}");
        assert!(text.contains("  cores "), "{text}");
        assert!(explain("vm").unwrap().to_string().contains("FIELDS:\n  apiVersion"));
    }

    #[test]
    fn programs_are_told_the_same() {
        let field = explain("vmi.spec.domain.devices.disks.cache").unwrap().json();
        assert_eq!(field["default"], "none where the file allows direct I/O, else writethrough");
        assert_eq!((&field["status"], &field["required"]), (&json!("honoured"), &json!(false)));
        assert!(field.get("note").is_none() && field.get("fields").is_none(), "{field}");
        let gpus = explain("vmi.spec.domain.devices.gpus").unwrap().json();
        assert!(gpus["note"].as_str().unwrap().contains("graphics"), "{gpus}");
        assert_eq!(gpus["fields"][0]["name"], "name");
        let machine = explain("vm").unwrap().json();
        assert!(machine.get("field").is_none() && machine["meaning"].is_string(), "{machine}");
    }

    #[test]
    fn parts_follow_what_they_are_part_of() {
        let text = explain("vmi.spec.domain.devices.gpus.name").unwrap().to_string();
        assert!(text.contains("STATUS:   as the field above (spec.domain.devices.gpus)"), "{text}");
    }

    #[test]
    fn unknown_fields_say_what_is_near() {
        assert_eq!(
            explain("vmi.spec.domain.cpus").unwrap_err().to_string(),
            "VirtualMachineInstance.spec.domain has no field \"cpus\": did you mean \"cpu\"?"
        );
        assert_eq!(explain(""), Err(ExplainError::Empty));
        let text = explain("vmm.spec").unwrap_err().to_string();
        assert!(text.starts_with("\"vmm\" is no kind (there is \"vmi\")"), "{text}");
        assert!(text.ends_with("the kinds are vmi, vm, vmirs, vmpool, vmim, migrationpolicies, vmipreset, vminstancetype, vmclusterinstancetype, vmpref, vmclusterpref, dv, nad, pvc, Secret, cm, sa"), "{text}");
        for path in [
            "dv.spec.source.vddk.uuid",
            "migration.spec.vmiName",
            "pvc.spec.resources.requests",
            "nad.spec.config",
        ] {
            assert!(explain(path).is_ok(), "{path}");
        }
    }

    impl PartialEq for Explanation {
        fn eq(&self, other: &Self) -> bool {
            self.to_string() == other.to_string()
        }
    }
}
