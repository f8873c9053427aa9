//! What was made in the host's network, and what was there before: enough to undo it, also for another process after
//! the one that made it was killed.

use serde::{Deserialize, Serialize};

use crate::netlink::{NamespaceId, Saved};
use crate::{IpNet, MacAddress};

/// All that was made for one machine. Steps are written down before they are taken, so the last may not have been.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Where it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<NamespaceId>,
    /// In the order in which it was made.
    #[serde(default)]
    pub(super) steps: Vec<Step>,
}

impl Record {
    /// Whether there is nothing to undo.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Step {
    /// An interface was made, with an index chosen at random.
    Interface { index: u32, name: String },
    /// A bridge is used together with others, and goes with its last port.
    SharedBridge { index: u32, name: String },
    /// Packet rules were made.
    Rules { table: String },
    /// Addresses and routes were taken off an interface.
    Moved { interface: u32, addresses: Vec<IpNet>, saved: Vec<Saved> },
    /// An interface got another name.
    Renamed { interface: u32, before: String, after: String },
    /// An interface got another address.
    Mac { interface: u32, before: MacAddress, after: MacAddress },
    /// An interface became the port of a bridge.
    Port { interface: u32, bridge: u32 },
    /// A setting of an interface was changed: of `net.VERSION.conf.INTERFACE`.
    InterfaceSetting { interface: u32, version: String, key: String, before: String, after: String },
    /// A setting of the whole namespace was changed.
    Setting { path: String, before: String, after: String },
}

impl Step {
    /// Whether it is a setting that all machines of the namespace need: those that let the host forward packets.
    pub(super) fn is_for_all(&self) -> bool {
        match self {
            Self::Setting { .. } => true,
            Self::InterfaceSetting { key, .. } => key == "accept_ra",
            _ => false,
        }
    }
}

/// Something that could not be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What is left.
    pub what: String,
    /// Why.
    pub why: String,
}
