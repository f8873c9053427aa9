//! What admission finds, gathered with paths and given places at the end.

use super::{Cause, Reason, Warning};
use crate::api::read::Fault;
use crate::source::Document;

/// Causes and warnings of one document while they are gathered.
pub(crate) struct Findings<'a> {
    document: &'a Document,
    /// What stands before the paths of the part that is looked at, e.g. `spec.template.`.
    base: &'static str,
    causes: Vec<Cause>,
    warnings: Vec<Warning>,
    /// The paths of values that could not be read; what follows from their absence is not reported.
    unread: Vec<String>,
    /// Paths of words that nothing is known of, with what to say if no rule says anything.
    doubts: Vec<(String, String)>,
}

impl<'a> Findings<'a> {
    /// The most causes or warnings kept for one document; beyond them nobody reads on.
    const MOST: usize = 200;

    pub(crate) fn new(document: &'a Document) -> Self {
        Self {
            document,
            base: "",
            causes: Vec::new(),
            warnings: Vec::new(),
            unread: Vec::new(),
            doubts: Vec::new(),
        }
    }

    /// Sets what stands before the paths of all that follows.
    pub(crate) fn within(&mut self, base: &'static str) {
        self.base = base;
    }

    /// Takes over the faults of reading.
    pub(crate) fn unread(&mut self, faults: Vec<Fault>) {
        for Fault { reason, path, is_null, message } in faults {
            self.unread.push(path.clone());
            let field = if is_null { String::new() } else { path.clone() };
            self.push(reason, field, path, message);
        }
    }

    /// Whether everything at `path` could be read; where not, what it lacks says nothing.
    pub(crate) fn has_read(&self, path: &str) -> bool {
        let path = format!("{}{path}", self.base);
        !self.unread.contains(&path)
    }

    /// Says that a value was to come from elsewhere and did not, so that its absence is no fault of its own.
    pub(crate) fn lacks(&mut self, path: &str) {
        self.unread.push(format!("{}{path}", self.base));
    }

    /// A value that is not allowed.
    pub(crate) fn invalid(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.put(Reason::Invalid, path, message);
    }

    /// A value that KubeVirt takes and kubevmm cannot: its own rules, not the API's.
    pub(crate) fn cannot(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.put(Reason::NotSupported, path, message);
    }

    /// A value that is missing.
    pub(crate) fn required(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.put(Reason::Required, path, message);
    }

    /// A cause whose field is named by its path.
    pub(crate) fn put(&mut self, reason: Reason, path: impl Into<String>, message: impl Into<String>) {
        let path = path.into();
        self.put_as(reason, path.clone(), path, message);
    }

    /// A cause for which a KubeVirt cluster names another field than where the value stands.
    pub(crate) fn put_as(
        &mut self,
        reason: Reason,
        field: impl Into<String>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) {
        let path = format!("{}{}", self.base, path.into());
        let field = field.into();
        let field = if field.is_empty() { field } else { format!("{}{field}", self.base) };
        if !self.follows_from_unread(&path) {
            self.push(reason, field, path, message.into());
        }
    }

    /// Something accepted that does not do what it says.
    pub(crate) fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        let path = format!("{}{}", self.base, path.into());
        let message = message.into();
        let known = |warning: &Warning| warning.path == path && warning.message == message;
        if self.warnings.len() < Self::MOST && !self.warnings.iter().any(known) {
            let location = self.document.locate(&path);
            self.warnings.push(Warning { path, message, location });
        }
    }

    /// Takes back that a value does not do what it says: in this object it does.
    pub(crate) fn has_effect(&mut self, path: &str) {
        self.warnings.retain(|warning| warning.path != path);
    }

    /// A word that nothing is known of: a cause, unless some rule finds fault with the same value.
    pub(crate) fn doubt(&mut self, path: &str, message: String) {
        if self.doubts.len() < Self::MOST {
            self.doubts.push((format!("{}{path}", self.base), message));
        }
    }

    fn push(&mut self, reason: Reason, field: String, path: String, message: String) {
        let known = |cause: &Cause| cause.field == field && cause.message == message && cause.path == path;
        if self.causes.len() < Self::MOST && !self.causes.iter().any(known) {
            let location = self.document.locate(&path);
            self.causes.push(Cause { reason, field, path, message, location });
        }
    }

    fn follows_from_unread(&self, path: &str) -> bool {
        let is_specific = path.matches('.').count() > 1;
        self.unread
            .iter()
            .any(|unread| path.starts_with(unread.as_str()) || is_specific && unread.starts_with(path))
    }

    /// Causes and warnings in manifest order.
    pub(crate) fn finish(mut self) -> (Vec<Cause>, Vec<Warning>) {
        for (path, message) in std::mem::take(&mut self.doubts) {
            if !self.causes.iter().any(|cause| cause.path == path) {
                self.push(Reason::NotSupported, path.clone(), path, message);
            }
        }
        self.causes.sort_by_key(|cause| (cause.location.line(), cause.location.column()));
        self.warnings.sort_by_key(|warning| (warning.location.line(), warning.location.column()));
        (self.causes, self.warnings)
    }
}
