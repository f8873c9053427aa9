//! Why a dump was not written.

use std::io;
use std::path::PathBuf;

/// The file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the memory could not be written to {}", path.display())]
pub struct DumpError {
    /// Where it was to be.
    pub path: PathBuf,
    /// What the host said.
    #[source]
    pub source: io::Error,
}
