//! Admission: types, KubeVirt's defaults, KubeVirt's rules, and what kubevmm itself cannot do.

mod defaults;
mod findings;
mod instancetype;
pub(crate) mod kinds;
mod machine;
mod object;
mod preference;
mod preset;
mod rules;

use std::fmt;

pub use object::Object;

use crate::api::VirtualMachineInstance;
use crate::resolve::Missing;
use crate::source::{Document, Location, Manifests};
pub(crate) use findings::Findings;

/// Why a value is refused: Kubernetes' `StatusCause` types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A needed value is missing.
    Required,
    /// The value is not allowed.
    Invalid,
    /// The value is of the wrong type.
    TypeInvalid,
    /// The value is given twice.
    Duplicate,
    /// The value is not one of those supported, by KubeVirt or by kubevmm.
    NotSupported,
    /// The value refers to something that is not there.
    NotFound,
    /// The value may not be given here.
    Forbidden,
}

impl Reason {
    /// The name in Kubernetes' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotSupported => "FieldValueNotSupported",
            Self::NotFound => "FieldValueNotFound",
            Self::Forbidden => "FieldValueForbidden",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One reason why an object is refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// The kind of fault.
    pub reason: Reason,
    /// The field as a KubeVirt cluster names it in its answer; now and then that is not where the value stands.
    pub field: String,
    /// Where the value stands (or should), e.g. `spec.domain.memory.guest`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The place in the manifest: the value's, or its nearest parent's.
    pub location: Location,
}

/// Something accepted that does not do what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Warning {
    /// Where the value stands.
    pub path: String,
    /// What it does not do.
    pub message: String,
    /// The place in the manifest: the value's, or its nearest parent's.
    pub location: Location,
}

/// What admission says of one object.
#[derive(Debug)]
pub struct Verdict {
    /// Whether the object is accepted: it is when there is no cause.
    pub allowed: bool,
    /// The object with its defaults; values at fault are left out.
    pub object: Object,
    /// Every reason to refuse it, in manifest order.
    pub causes: Vec<Cause>,
    /// Everything accepted that does not do what it says, in manifest order.
    pub warnings: Vec<Warning>,
}

impl Verdict {
    /// What stands in the document before the paths of the machine: empty for an instance, `spec.template.` for a
    /// VirtualMachine. With it, [`Document::locate`] finds the line of a machine's field.
    pub fn machine_base(&self) -> &'static str {
        match self.object {
            Object::VirtualMachine(..) | Object::ReplicaSet(..) => "spec.template.",
            Object::Pool(..) => "spec.virtualMachineTemplate.spec.template.",
            _ => "",
        }
    }

    /// Adds what the machine refers to and was not found: as causes where the machine is to run, else as warnings.
    pub fn miss(&mut self, document: &Document, missing: &[Missing], is_to_run: bool) {
        for missing in missing {
            let path = format!("{}{}", self.machine_base(), missing.path);
            let (message, location) = (missing.message.clone(), document.locate(&path));
            if is_to_run {
                let field = path.clone();
                self.causes.push(Cause { reason: Reason::NotFound, field, path, message, location });
            } else {
                self.warnings.push(Warning { path, message, location });
            }
        }
        self.causes.sort_by_key(|cause| (cause.location.line(), cause.location.column()));
        self.warnings.sort_by_key(|warning| (warning.location.line(), warning.location.column()));
        self.allowed = self.causes.is_empty();
    }

    /// The machine to run: the instance itself, or the one that the object's template describes.
    pub fn machine(&self) -> Option<&VirtualMachineInstance> {
        self.object.machine()
    }
}

/// Gives a document its types, defaults and verdict. Objects that it names (instancetypes, preferences) are looked up
/// among `manifests`.
pub fn admit(document: &Document, manifests: &Manifests) -> Verdict {
    let mut findings = Findings::new(document);
    let object = Object::read(document, manifests, &mut findings);
    let (causes, warnings) = findings.finish();
    Verdict { allowed: causes.is_empty(), object, causes, warnings }
}

#[cfg(test)]
mod tests;
