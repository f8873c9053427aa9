//! Why a tap cannot be used.

use std::io;
use std::path::PathBuf;

/// Why a tap could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// No interface of the network namespace has the name.
    #[error("there is no network interface {name:?} here; create it first (ip tuntap add {name} mode tap)")]
    NoSuchInterface {
        /// As asked for.
        name: String,
    },
    /// No interface can have the name.
    #[error("a network interface cannot be called {name:?}")]
    BadName {
        /// As asked for.
        name: String,
    },
    /// The interface is something else.
    #[error("network interface {name:?} is neither a tap nor a macvtap (its driver is {driver:?})")]
    NotATap {
        /// Which.
        name: String,
        /// What it is.
        driver: String,
    },
    /// Another process has it.
    #[error("tap {name:?} is in use by another process; stop that one or choose another tap")]
    InUse {
        /// Which.
        name: String,
    },
    /// The process may not use it.
    #[error(
        "no permission to use tap {name:?}; run with CAP_NET_ADMIN, or give the tap to this user \
         (ip tuntap add {name} mode tap user …)"
    )]
    Permission {
        /// Which.
        name: String,
    },
    /// It has fewer queues than asked for.
    #[error("tap {name:?} was not made for {queues} queues; make it with multi_queue, or ask for one queue")]
    SingleQueue {
        /// Which.
        name: String,
        /// How many were asked for.
        queues: u16,
    },
    /// The file behind it cannot be opened.
    #[error("cannot open {} for network interface {name:?}", .path.display())]
    Device {
        /// Of which interface.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is another interface's.
    #[error("{} is not the file of macvtap {name:?}: their addresses differ", .path.display())]
    WrongDevice {
        /// Of which interface.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// The kernel did not take a setting.
    #[error("setting up tap {name:?} failed: {doing}")]
    SetUp {
        /// Which.
        name: String,
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file descriptor that was handed over is not what it should be.
    #[error("the file descriptor handed over is not attached to a tap")]
    NotATapFd(#[source] io::Error),
    /// The creator of a tap's file left the virtio header out.
    #[error("the file descriptor of tap {name:?} was opened without IFF_VNET_HDR")]
    NoHeader {
        /// Which.
        name: String,
    },
    /// Files of several interfaces were handed over as one.
    #[error("the file descriptors handed over belong to different taps, {first:?} and {other:?}")]
    DifferentTaps {
        /// One.
        first: String,
        /// And another.
        other: String,
    },
    /// No queue was asked for.
    #[error("a tap needs at least one queue")]
    NoQueues,
}
