//! Why a dump was not written.

use std::io;
use std::path::PathBuf;

use crate::demand::NotFetched;
use crate::state::Refusal;

/// There is no dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file could not be written.
    #[error("the memory could not be written to {}", path.display())]
    File {
        /// Where it was to be.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// The machine does not stand still for it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A part of the memory does not come.
    #[error(transparent)]
    Missing(#[from] NotFetched),
}
