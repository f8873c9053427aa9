//! Why the kernel's network configuration could not be read or changed.

use std::io;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel cannot be talked to.
    #[error("cannot talk to the kernel about the network ({doing})")]
    Socket {
        /// What was being done.
        doing: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel said no.
    #[error("{doing} failed{}", said.as_deref().map(|said| format!(": {said}")).unwrap_or_default())]
    Refused {
        /// What was being done.
        doing: String,
        /// The kernel's reason in words, where it gives one.
        said: Option<String>,
        /// Its reason by number.
        #[source]
        source: io::Error,
    },
    /// The kernel said something that is not understood.
    #[error("the kernel's answer makes no sense ({doing})")]
    Nonsense {
        /// What was being done.
        doing: String,
    },
    /// What was to be changed is not there.
    #[error("there is no network interface {0:?} here")]
    NoInterface(String),
}

impl NetlinkError {
    /// The number that the kernel refused with.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket { source, .. } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Nonsense { .. } | Self::NoInterface(_) => None,
        }
    }

    /// Whether what was to be made exists already.
    pub fn is_existing(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// Whether what was to be changed or removed is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NoInterface(_))
            || matches!(
                self.errno(),
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ESRCH | libc::EADDRNOTAVAIL)
            )
    }

    /// Whether the process lacks the right.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::EACCES))
    }
}

/// Turns "no such thing" into nothing at all, for what is removed.
pub(crate) fn unless_missing(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.is_missing() => Ok(()),
        other => other,
    }
}
