//! Why passt does not run.

use std::io;
use std::path::PathBuf;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum PasstError {
    /// The program cannot be run.
    #[error("cannot start {}; is passt installed?", .program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It ended as soon as it was started.
    #[error("passt ended with {status}: {said}")]
    Ended {
        /// How.
        status: String,
        /// What it said.
        said: String,
    },
    /// It was stopped for good.
    #[error("passt was stopped")]
    Stopped,
    /// There is no connection to it.
    #[error("cannot make a connection to passt")]
    Socket(#[source] io::Error),
}
