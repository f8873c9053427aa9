//! Leases and advertisements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Route4;
use crate::MacAddress;

/// How long a lease lasts: 999 days, as KubeVirt's (`pkg/network/dhcp/server/server.go`).
pub const LEASE_SECONDS: u32 = 999 * 24 * 60 * 60;

/// Everything that is answered in place of the network behind a card. What is left out, the network gets to see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Hardware address that answers come from: that of the gateway or bridge the guest sends to.
    pub server_mac: MacAddress,
    /// Answers DHCPv4.
    pub lease4: Option<Lease4>,
    /// Answers DHCPv6.
    pub lease6: Option<Lease6>,
    /// Answers router solicitations, and advertises itself now and then.
    pub advert: Option<RouterAdvert>,
    /// Addresses for which ARP and neighbour solicitations are answered with `server_mac`, because nobody behind the
    /// card does so.
    pub neighbours: Vec<IpAddr>,
}

/// The one lease that DHCPv4 hands out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease4 {
    /// The only client that is answered; none: any, as KubeVirt does for masquerade.
    pub client: Option<MacAddress>,
    /// The client's address.
    pub address: Ipv4Addr,
    /// Length of its subnet's prefix, 0 to 32.
    pub prefix: u8,
    /// Address of the server: what the answers come from, and the server identifier (option 54).
    pub server: Ipv4Addr,
    /// Default gateway (option 3).
    pub router: Option<Ipv4Addr>,
    /// Routes besides (option 121); [`routes_of_pod`](super::routes_of_pod) makes them of a pod's.
    pub routes: Vec<Route4>,
    /// Name servers (option 6).
    pub dns: Vec<Ipv4Addr>,
    /// Search domains (option 119); the longest is also the client's domain (option 15).
    pub search: Vec<String>,
    /// Name of the client (option 12).
    pub hostname: Option<String>,
    /// MTU (option 26).
    pub mtu: Option<u16>,
    /// What the manifest asks for (`dhcpOptions`).
    pub extras: Extras4,
    /// Duration in seconds, usually [`LEASE_SECONDS`].
    pub seconds: u32,
}

/// The API's `dhcpOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extras4 {
    /// `bootFileName` (option 67).
    pub boot_file: Option<String>,
    /// `tftpServerName` (option 66).
    pub tftp_server: Option<String>,
    /// `ntpServers` (option 42).
    pub ntp: Vec<Ipv4Addr>,
    /// `privateOptions`.
    pub private: Vec<PrivateOption>,
}

/// An option for private use (RFC 2132 §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateOption {
    /// 224 to 254; others are not sent.
    pub code: u8,
    /// Its value, sent as it is; at most 255 bytes.
    pub value: String,
}

/// The one lease that DHCPv6 hands out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease6 {
    /// The only client that is answered, by the hardware address that its frames come from; none: any.
    pub client: Option<MacAddress>,
    /// The client's address.
    pub address: Ipv6Addr,
    /// Name servers (option 23).
    pub dns: Vec<Ipv6Addr>,
    /// Search domains (option 24).
    pub search: Vec<String>,
    /// Duration in seconds, usually [`LEASE_SECONDS`].
    pub seconds: u32,
}

/// What a router says of itself and of its link (RFC 4861 §4.2). Addresses come by DHCPv6, and no others are made up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterAdvert {
    /// Link-local address of the router, to which the guest's default route will point; usually
    /// [`RouterAdvert::link_local`] of its hardware address.
    pub router: Ipv6Addr,
    /// Addresses that are on the link.
    pub prefix: Ipv6Addr,
    /// How long that prefix is, 0 to 128.
    pub prefix_len: u8,
    /// MTU of the link.
    pub mtu: Option<u16>,
    /// Name servers (RFC 8106).
    pub dns: Vec<Ipv6Addr>,
}

impl RouterAdvert {
    /// The link-local address that an interface makes of its hardware address (RFC 4291 appendix A).
    pub fn link_local(MacAddress([a, b, c, d, e, f]): MacAddress) -> Ipv6Addr {
        let groups = [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]].map(u16::from_be_bytes);
        let [g, h, i, j] = groups;
        Ipv6Addr::new(0xfe80, 0, 0, 0, g, h, i, j)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_contains_the_hardware_address() {
        assert_eq!(RouterAdvert::link_local(MacAddress([2, 0, 0, 0, 0, 0])).to_string(), "fe80::ff:fe00:0");
        let mac = MacAddress([0x52, 0x54, 0x00, 0x12, 0x34, 0x56]);
        assert_eq!(RouterAdvert::link_local(mac).to_string(), "fe80::5054:ff:fe12:3456");
    }
}
