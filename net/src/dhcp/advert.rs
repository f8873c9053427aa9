//! Router advertisements (RFC 4861 §4.2).

use std::net::Ipv6Addr;

use super::RouterAdvert;
use crate::wire::{Ends6, Mac, icmp6};

const ADVERTISEMENT: u8 = 134;
/// Every node of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const HOPS: u8 = 64;
/// Addresses and everything else come by DHCPv6.
const MANAGED_AND_OTHER: u8 = 0xc0;
/// Prefix option: these addresses are on the link; none is to be made of the prefix.
const ON_LINK: u8 = 0x80;
/// Lifetime of the router in seconds, which is advertised anew long before.
const ROUTER_SECONDS: u16 = 9000;

/// The advertisement as a frame for all nodes, sent by the router at `mac`.
pub(crate) fn frame(advert: &RouterAdvert, mac: Mac) -> Vec<u8> {
    let ends = Ends6 { from_mac: mac, to_mac: ALL_NODES_MAC, from: advert.router, to: ALL_NODES };
    let mut body = vec![HOPS, MANAGED_AND_OTHER];
    body.extend_from_slice(&ROUTER_SECONDS.to_be_bytes());
    // Times of reachability and retransmission are left to the guest.
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&[1, 1]);
    body.extend_from_slice(&mac);
    if let Some(mtu) = advert.mtu {
        body.extend_from_slice(&[5, 1, 0, 0]);
        body.extend_from_slice(&u32::from(mtu).to_be_bytes());
    }
    body.extend_from_slice(&[3, 4, advert.prefix_len.min(128), ON_LINK]);
    // The prefix is on the link for ever.
    body.extend_from_slice(&[0xff; 8]);
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&advert.prefix.octets());
    // As many name servers as one option has room for: its length is in units of 8 bytes.
    let servers = advert.dns.iter().take(8);
    if let Some(len) = u8::try_from(servers.len() * 2 + 1).ok().filter(|len| *len > 1) {
        body.extend_from_slice(&[25, len, 0, 0]);
        body.extend_from_slice(&u32::from(ROUTER_SECONDS).to_be_bytes());
        servers.for_each(|server| body.extend_from_slice(&server.octets()));
    }
    icmp6(ends, ADVERTISEMENT, &body)
}
