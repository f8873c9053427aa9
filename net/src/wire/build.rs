//! Frames for the guest, each behind a virtio header that asks for nothing: checksums are filled in.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Mac;
use super::checksum::Sum;
use super::{Arp, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMPV6, UDP};
use crate::HEADER_LEN;

/// Hops that a packet may take (RFC 1700).
const HOPS: u8 = 64;
/// Of neighbour discovery, which must not have taken any (RFC 4861 §7.1).
const NEIGHBOUR_HOPS: u8 = 255;

/// Who talks to whom over IPv4.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends4 {
    pub(crate) from_mac: Mac,
    pub(crate) to_mac: Mac,
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
}

/// Who talks to whom over IPv6.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends6 {
    pub(crate) from_mac: Mac,
    pub(crate) to_mac: Mac,
    pub(crate) from: Ipv6Addr,
    pub(crate) to: Ipv6Addr,
}

fn ethernet(to: Mac, from: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = vec![0; usize::try_from(HEADER_LEN).unwrap_or_default()];
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&from);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame
}

/// Answers are far shorter than 64 KiB.
fn len16(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// A UDP datagram, with the checksum over `sum` and itself.
fn datagram(sum: Sum, [from, to]: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(payload.len() + 8);
    datagram.extend_from_slice(&from.to_be_bytes());
    datagram.extend_from_slice(&to.to_be_bytes());
    datagram.extend_from_slice(&len16(payload.len() + 8));
    // 0 says that there is none, and stands for the same sum as this.
    let checksum = match sum.add(&datagram).add(payload).finish() {
        0 => u16::MAX,
        checksum => checksum,
    };
    datagram.extend_from_slice(&checksum.to_be_bytes());
    datagram.extend_from_slice(payload);
    datagram
}

/// A datagram over IPv4 (RFC 791), `ports` being the sender's and the receiver's.
pub(crate) fn udp4(ends: Ends4, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let len = payload.len() + 8;
    let datagram = datagram(Sum::over4(ends.from, ends.to, UDP, len), ports, payload);
    let [high, low] = len16(len + 20);
    let mut header = [0; 20];
    let start = [0x45, 0, high, low, 0, 0, 0x40, 0, HOPS, UDP, 0, 0];
    let addresses = [ends.from.octets(), ends.to.octets()];
    let bytes = start.iter().chain(addresses.as_flattened());
    header.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let checksum = Sum::default().add(&header).finish().to_be_bytes();
    header.iter_mut().skip(10).zip(checksum).for_each(|(to, from)| *to = from);
    let mut frame = ethernet(ends.to_mac, ends.from_mac, ETHERTYPE_IPV4);
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&datagram);
    frame
}

fn ip6(ends: Ends6, protocol: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(ends.to_mac, ends.from_mac, ETHERTYPE_IPV6);
    frame.extend_from_slice(&[0x60, 0, 0, 0]);
    frame.extend_from_slice(&len16(payload.len()));
    frame.extend_from_slice(&[protocol, hops]);
    frame.extend_from_slice(&ends.from.octets());
    frame.extend_from_slice(&ends.to.octets());
    frame.extend_from_slice(payload);
    frame
}

/// A datagram over IPv6 (RFC 8200).
pub(crate) fn udp6(ends: Ends6, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let sum = Sum::over6(ends.from, ends.to, UDP, payload.len() + 8);
    ip6(ends, UDP, HOPS, &datagram(sum, ports, payload))
}

/// A message of neighbour discovery: type and code, and what follows after the checksum (RFC 4861).
pub(crate) fn icmp6(ends: Ends6, kind: u8, body: &[u8]) -> Vec<u8> {
    let sum = Sum::over6(ends.from, ends.to, ICMPV6, body.len() + 4);
    let checksum = sum.add(&[kind, 0]).add(body).finish().to_be_bytes();
    let mut message = vec![kind, 0];
    message.extend_from_slice(&checksum);
    message.extend_from_slice(body);
    ip6(ends, ICMPV6, NEIGHBOUR_HOPS, &message)
}

/// Tells who asked that the address asked for is at `mac`.
pub(crate) fn arp_reply(request: &Arp, mac: Mac) -> Vec<u8> {
    let mut frame = ethernet(request.sender_mac, mac, ETHERTYPE_ARP);
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&request.target.octets());
    frame.extend_from_slice(&request.sender_mac);
    frame.extend_from_slice(&request.sender.octets());
    // The shortest that Ethernet allows.
    frame.resize(frame.len().max(60 + usize::try_from(HEADER_LEN).unwrap_or_default()), 0);
    frame
}
