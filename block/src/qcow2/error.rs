//! What can be wrong with a qcow2 image.

/// Why a qcow2 image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QcowError {
    /// No qcow2 magic at the start.
    #[error("it is not a qcow2 image")]
    NotQcow2,
    /// The header is cut short or says what it must not.
    #[error("its header is invalid: {0}")]
    Header(&'static str),
    /// A table or entry says what it must not.
    #[error("it is corrupt: {0}")]
    Corrupt(&'static str),
    /// It uses something that is not supported, or not for writing.
    #[error("it uses {0}, which is not supported{1}")]
    Unsupported(String, &'static str),
    /// It has a backing file, and the caller has not named one.
    #[error("it has a backing file {0:?}, which is opened only if it is named explicitly")]
    HasBacking(String),
    /// The caller named a backing file, and it has none.
    #[error("it has no backing file, but one was named")]
    NoBacking,
}

impl From<QcowError> for std::io::Error {
    fn from(error: QcowError) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}
