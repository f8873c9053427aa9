//! What a manifest asks for and no machine can be planned with.

/// Whose fault it is that something cannot be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The manifest asks for what cannot be.
    Manifest,
    /// The host lacks what the manifest refers to.
    Host,
}

/// A field that cannot be planned.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {message}")]
pub struct PlanError {
    /// Path of the field, as in `spec.domain.cpu`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Whose fault it is.
    pub fault: Fault,
}

impl PlanError {
    /// An error at a field.
    pub fn at(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), fault: Fault::Manifest }
    }

    /// Something that a field refers to and the host lacks.
    pub fn missing(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), fault: Fault::Host }
    }
}
