//! Why a guest's network could not be made on the host.

use std::io;

use crate::netlink::NetlinkError;
use crate::{IpNet, TapError};

/// Why not. What was begun stays in the record, to be undone.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The process may not change the network.
    #[error(
        "changing the host's network needs CAP_NET_ADMIN: run as root, give a tap that exists with --tap, \
         or use the passt binding, which needs no rights"
    )]
    Forbidden(#[source] NetlinkError),
    /// The kernel did not do something.
    #[error("the host's network could not be changed")]
    Netlink(#[source] NetlinkError),
    /// The tap could not be made or opened.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// A setting of the kernel could not be read or written.
    #[error("cannot set {path} to {value:?}; is /proc/sys read-only here?")]
    Setting {
        /// File of the setting.
        path: String,
        /// What it should be.
        value: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Two things of the host would have the same addresses.
    #[error(
        "the guest's network {network} overlaps with {other} of interface {interface:?}; \
         choose another with vmNetworkCIDR or vmIPv6NetworkCIDR"
    )]
    Overlap {
        /// The guest's.
        network: IpNet,
        /// What is there.
        other: IpNet,
        /// Where.
        interface: String,
    },
    /// What has to be there is something else.
    #[error("network interface {name:?} is no {wanted}")]
    WrongKind {
        /// Which.
        name: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// What will be made could not be written down, so that it was not made.
    #[error("cannot write down what is made in the host's network")]
    Record(#[source] io::Error),
    /// The namespace cannot be told from others.
    #[error("cannot find out which network namespace this is; is /proc mounted?")]
    Namespace(#[source] io::Error),
}

impl From<NetlinkError> for SetupError {
    fn from(error: NetlinkError) -> Self {
        if error.is_forbidden() { Self::Forbidden(error) } else { Self::Netlink(error) }
    }
}
