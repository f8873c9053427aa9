//! What the kernel has: interfaces, their addresses, routes, neighbours. Plain data.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{IpNet, MacAddress};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// The kernel's number of it, which no other interface of the namespace has while it exists.
    pub index: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its address; interfaces of layer 3 have none, the loopback interface has one of zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// Longest payload of a frame, in bytes.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether a cable is in it: something can be sent.
    pub carrier: bool,
    /// The bridge or bond it is a port of, by index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<u32>,
    /// The interface below it (macvtap, VLAN) or at its other end (veth).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Free text that whoever made it may leave (`ip link set … alias`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// Where an interface's parent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Parent {
    /// In the same network namespace, with this index.
    Here(u32),
    /// In another one, with this index there.
    Elsewhere(u32),
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The loopback interface.
    Loopback,
    /// A card, or whatever else says no kind.
    Card,
    /// A tap.
    Tap {
        /// Whether it was made for several queues; then each file has to say so, else none may.
        multi_queue: bool,
    },
    /// A macvtap.
    Macvtap(MacvtapMode),
    /// A bridge.
    Bridge,
    /// One end of a virtual cable.
    Veth,
    /// Anything else, by the kernel's name of it: "dummy", "vlan", "bond", …
    Other(String),
}

/// To whom a macvtap's frames go (linux/if_link.h, `enum macvlan_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvtapMode {
    /// Only out of the parent's cable, and never back.
    Private,
    /// Out of the parent's cable, to be reflected by the switch there.
    Vepa,
    /// Directly to others of the same parent.
    #[default]
    Bridge,
    /// It has its parent for itself.
    Passthru,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// Index of the interface.
    pub interface: u32,
    /// The address and its network.
    pub net: IpNet,
    /// The other end's, on a line between two points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// The broadcast address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<IpAddr>,
    /// How far it is valid.
    pub scope: Scope,
    /// Whether somebody set it, rather than the kernel by itself (from a router's advertisement, say).
    pub permanent: bool,
}

/// How far an address or a route reaches (linux/rtnetlink.h, `enum rt_scope_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Everywhere.
    Global,
    /// The same cable.
    Link,
    /// This host.
    Host,
    /// What else the kernel may say.
    Other(u8),
}

/// A route to one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Where to; [`IpNet::EVERYWHERE_V4`] and its like make a default route.
    pub destination: IpNet,
    /// Through whom; no one, if the destination is on the cable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Out of which interface, by index.
    pub interface: u32,
    /// With which source address, where that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Among several to one destination the lowest wins.
    pub metric: u32,
    /// How far.
    pub scope: Scope,
    /// Who made it (linux/rtnetlink.h, `RTPROT_*`): 2 the kernel, 3 at boot, 4 an administrator, 9 a router's advertisement, …
    pub protocol: u8,
    /// The gateway is on the cable though no route says so.
    #[serde(default)]
    pub on_link: bool,
}

/// What is known of a station on an interface's cable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Neighbour {
    /// Index of the interface.
    pub interface: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its card's, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// Whether it is there for good, rather than learnt.
    pub permanent: bool,
}
