//! Neighbour discovery (RFC 4861 §4.3, §4.4).

use std::net::Ipv6Addr;

use crate::wire::{Cursor, Ends6, Mac, icmp6};

const ADVERTISEMENT: u8 = 136;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// The address that a solicitation asks for.
pub(crate) fn solicited(message: &[u8]) -> Option<Ipv6Addr> {
    let mut cursor = Cursor(message);
    cursor.bytes(8)?;
    cursor.ip6().filter(|target| !target.is_multicast())
}

/// Says as a frame that the router `target` is at `mac`, to who asked. Who has no address of its own yet asks whether
/// the target is free, and learns with all others that it is not.
pub(crate) fn advertisement(target: Ipv6Addr, mac: Mac, (asker_mac, asker): (Mac, Ipv6Addr)) -> Vec<u8> {
    let (to_mac, to, flags) = if asker.is_unspecified() {
        (ALL_NODES_MAC, ALL_NODES, ROUTER | OVERRIDE)
    } else {
        (asker_mac, asker, ROUTER | SOLICITED | OVERRIDE)
    };
    let mut body = vec![flags, 0, 0, 0];
    body.extend_from_slice(&target.octets());
    body.extend_from_slice(&[2, 1]);
    body.extend_from_slice(&mac);
    icmp6(Ends6 { from_mac: mac, to_mac, from: target, to }, ADVERTISEMENT, &body)
}
