//! What a manifest asks for and no machine can be planned with.

/// A field that cannot be planned.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {message}")]
pub struct PlanError {
    /// Path of the field, as in `spec.domain.cpu`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl PlanError {
    /// An error at a field.
    pub fn at(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}
