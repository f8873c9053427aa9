//! What is to be made on the host for a guest's card, as plain data.

use serde::{Deserialize, Serialize};

use crate::netlink::MacvtapMode;
use crate::nft::Forward;
use crate::{IpNet, MacAddress};

/// What is made for one card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wanted {
    /// The guest in the place of a pod: the pod's interface and a tap become ports of a bridge, and a dummy takes the
    /// interface's name and addresses (KubeVirt's `bridge` binding, pkg/network/setup/netpod).
    PodBridge {
        /// The pod's interface, such as `eth0`.
        pod: String,
        /// Name of the tap.
        tap: String,
        /// Name of the bridge.
        bridge: String,
        /// Queue pairs of the tap.
        queues: u16,
        /// MTU of all of them.
        mtu: u32,
        /// An address of the bridge, from which DHCP is answered; none where the pod has no address either.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpNet>,
    },
    /// The guest behind the host's addresses: a tap on a bridge of its own, and packet rules (KubeVirt's `masquerade`
    /// binding).
    Masquerade {
        /// The interface by which others reach the guest; none where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outside: Option<String>,
        /// Name of the tap.
        tap: String,
        /// Name of the bridge.
        bridge: String,
        /// Address of the bridge.
        bridge_mac: MacAddress,
        /// Queue pairs of the tap.
        queues: u16,
        /// MTU of both.
        mtu: u32,
        /// For each version of IP that there is: the bridge's address and the guest's.
        networks: Vec<Behind>,
        /// What leads to the guest.
        forwards: Forwards,
    },
    /// A tap on a bridge that others are on, too.
    BridgePort {
        /// Name of the bridge.
        bridge: String,
        /// Make the bridge if it is not there; such a bridge goes with its last port.
        create: bool,
        /// Name of the tap.
        tap: String,
        /// Queue pairs of the tap.
        queues: u16,
        /// MTU of the tap, and of a bridge that is made; none: the bridge's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtu: Option<u32>,
    },
    /// A macvtap.
    Macvtap {
        /// The interface that it shares.
        parent: String,
        /// Its name.
        name: String,
        /// Its address, which is the guest's.
        mac: MacAddress,
        /// To whom its frames go.
        mode: MacvtapMode,
        /// Queue pairs, each a file of it.
        queues: u16,
        /// Its MTU; none: the parent's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtu: Option<u32>,
    },
}

/// The two ends of a bridge, of one version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Behind {
    /// The bridge's address, the guest's gateway.
    pub gateway: IpNet,
    /// The guest's address.
    pub guest: IpNet,
}

/// Which of the host's ports lead to a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Forwards {
    /// All.
    All,
    /// These, or none.
    Only(Vec<Forward>),
}

impl Wanted {
    /// The tap or macvtap that the guest's card will be on.
    pub fn interface(&self) -> &str {
        match self {
            Self::PodBridge { tap, .. } | Self::Masquerade { tap, .. } | Self::BridgePort { tap, .. } => tap,
            Self::Macvtap { name, .. } => name,
        }
    }
}
