//! What can be wrong with a snapshot.

use std::io;
use std::path::{Path, PathBuf};

use crate::agent::AgentError;
use crate::demand::{DemandError, NotFetched};
use crate::dirty::DirtyError;
use crate::machine::{BuildError, LoadError};
use crate::state::Refusal;

/// A snapshot could not be taken or used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is something of this name.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// A file could not be read or written.
    #[error("{} could not be {doing}", path.display())]
    File {
        /// What was done with it: `read`, `written`, …
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// It is no snapshot at all, or was written by a program that is newer than this one.
    #[error("{} is no snapshot that this program reads: {why}", path.display())]
    Unknown {
        /// Its directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It is torn or was altered.
    #[error("the snapshot {} is damaged: {why}", path.display())]
    Damaged {
        /// Its directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// One that is served elsewhere does not come.
    #[error("the snapshot at {place}: {why}")]
    Far {
        /// Where it is served.
        place: String,
        /// Why it does not.
        why: String,
    },
    /// This host cannot run it.
    #[error("the machine cannot run on this host: {0}")]
    Host(String),
    /// A disk is not what it was.
    #[error("disk {name}: {why}")]
    Disk {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The guest's file systems could not be frozen.
    #[error("the guest's file systems cannot be frozen, and no snapshot was taken")]
    Freeze(#[source] AgentError),
    /// The machine refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The pages that the guest writes could not be told.
    #[error(transparent)]
    Dirty(#[from] DirtyError),
    /// Guest memory could not be had.
    #[error(transparent)]
    Memory(#[from] BuildError),
    /// A part of the memory that is to be saved does not come.
    #[error(transparent)]
    Missing(NotFetched),
    /// Its memory cannot come on demand.
    #[error(transparent)]
    Demand(#[from] DemandError),
    /// The machine did not take its state over.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
}

impl SnapshotError {
    /// For `map_err`: something could not be done with a file.
    pub(super) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }
}
