//! What rules say, apart from how the kernel is told.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The chains of a table, with KubeVirt's names (pkg/network/setup/netpod/masquerade).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    Prerouting,
    Input,
    Output,
    Postrouting,
    Inbound,
    Outbound,
}

/// Where a chain hooks into a packet's way: the hook's number (linux/netfilter.h) and the priority there.
pub(super) struct Hook {
    pub(super) number: u32,
    pub(super) priority: i32,
}

impl Chain {
    /// In the order in which they are made.
    pub(super) const ALL: [Self; 6] =
        [Self::Prerouting, Self::Input, Self::Output, Self::Postrouting, Self::Inbound, Self::Outbound];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Inbound => "KUBEVIRT_PREINBOUND",
            Self::Outbound => "KUBEVIRT_POSTINBOUND",
        }
    }

    pub(super) fn hook(self) -> Option<Hook> {
        let (number, priority) = match self {
            Self::Prerouting => (0, -100),
            Self::Input => (1, 100),
            Self::Output => (3, -100),
            Self::Postrouting => (4, 100),
            Self::Inbound | Self::Outbound => return None,
        };
        Some(Hook { number, priority })
    }
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    pub(super) fn number(self) -> u8 {
        // IPPROTO_TCP, IPPROTO_UDP.
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// It came in by this interface.
    In(String),
    /// It goes out by this one.
    Out(String),
    /// It is from one of these.
    From(Vec<IpAddr>),
    /// It is for one of these.
    To(Vec<IpAddr>),
    /// It is for one of these ports.
    Port(Protocol, Ports),
}

/// Some ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    One(u16),
    Range { first: u16, last: u16 },
    Several(Vec<u16>),
}

/// What happens to a packet that meets all conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Jump(Chain),
    Return,
    Masquerade,
    Snat(IpAddr),
    Dnat(IpAddr),
}

/// One rule; every rule counts, as KubeVirt's do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: Chain,
    pub(super) matches: Vec<Match>,
    pub(super) verdict: Verdict,
}
