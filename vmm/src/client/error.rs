//! Why a machine did not do what it was asked to.

use std::io;
use std::path::PathBuf;

use crate::open::OpenError;

/// A failure of a client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no such machine.
    #[error("there is no machine {namespace}/{name} (looked for {}){hint}", directory.display())]
    NoMachine {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Where it would be.
        directory: PathBuf,
        /// What else there is.
        hint: String,
    },
    /// It has ended.
    #[error("{0} does not run")]
    Ended(String),
    /// What it left cannot be removed.
    #[error(transparent)]
    Left(OpenError),
    /// It runs, but its socket cannot be connected to.
    #[error("{name} cannot be reached at {}", socket.display())]
    Unreachable {
        /// Which machine.
        name: String,
        /// Its socket.
        socket: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or nothing came in time.
    #[error("the connection to {name} broke")]
    Broken {
        /// Which machine.
        name: String,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// What came is no answer.
    #[error("the answer of {0} makes no sense")]
    Nonsense(String),
    /// It says no.
    #[error("{message}")]
    Refused {
        /// Status code.
        code: u16,
        /// Its reason, as Kubernetes names it.
        reason: String,
        /// In words.
        message: String,
    },
}
