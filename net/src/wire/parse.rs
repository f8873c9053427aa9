//! Frames of the guest, taken apart. Nothing is believed that is not checked.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Cursor;
use super::Mac;
use super::checksum::Sum;

/// A frame, datagram or message that contradicts its own format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// An Ethernet frame without a VLAN tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ethernet<'a> {
    pub(crate) source: Mac,
    pub(crate) ethertype: u16,
    pub(crate) payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    pub(crate) fn parse(frame: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(frame);
        let _destination: Mac = cursor.array()?;
        Some(Self { source: cursor.array()?, ethertype: cursor.be16()?, payload: cursor.0 })
    }
}

/// An IPv4 packet that is no fragment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ip4<'a> {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> Ip4<'a> {
    /// None for a fragment.
    pub(crate) fn parse(packet: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let (header, payload) = Self::split(packet).ok_or(Malformed)?;
        if Sum::default().add(header).finish() != 0 {
            return Err(Malformed);
        }
        Self::fields(header, payload).ok_or(Malformed)
    }

    /// Header and payload, without what padded the frame.
    fn split(packet: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let mut cursor = Cursor(packet);
        let first = cursor.byte()?;
        let header_len = usize::from(first & 0xf) * 4;
        cursor.byte()?;
        let total = usize::from(cursor.be16()?);
        if first >> 4 != 4 || header_len < 20 {
            return None;
        }
        packet.get(..total)?.split_at_checked(header_len)
    }

    fn fields(header: &'a [u8], payload: &'a [u8]) -> Option<Option<Self>> {
        let mut cursor = Cursor(header);
        cursor.bytes(6)?;
        // More fragments, or an offset.
        let fragment = cursor.be16()? & 0x3fff != 0;
        cursor.byte()?;
        let protocol = cursor.byte()?;
        cursor.be16()?;
        let (source, destination) = (cursor.ip4()?, cursor.ip4()?);
        Some((!fragment).then_some(Self { source, destination, protocol, payload }))
    }
}

/// An IPv6 packet without extension headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ip6<'a> {
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> Ip6<'a> {
    pub(crate) fn parse(packet: &'a [u8]) -> Result<Self, Malformed> {
        Self::fields(packet).ok_or(Malformed)
    }

    fn fields(packet: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(packet);
        if cursor.be32()? >> 28 != 6 {
            return None;
        }
        let len = usize::from(cursor.be16()?);
        let (protocol, hop_limit) = (cursor.byte()?, cursor.byte()?);
        let (source, destination) = (cursor.ip6()?, cursor.ip6()?);
        Some(Self { source, destination, protocol, hop_limit, payload: cursor.bytes(len)? })
    }

    /// The ICMPv6 message inside, whose checksum is right or was left open.
    pub(crate) fn icmp(&self, open: bool) -> Result<&'a [u8], Malformed> {
        let sum = Sum::over6(self.source, self.destination, self.protocol, self.payload.len());
        if open || sum.add(self.payload).finish() == 0 { Ok(self.payload) } else { Err(Malformed) }
    }
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) destination_port: u16,
    pub(crate) payload: &'a [u8],
}

/// Takes the UDP datagram out of an IP packet's payload. `open`: the guest left the checksum to the device.
pub(crate) fn udp<'a>(packet: &Packet<'a>, open: bool) -> Result<Datagram<'a>, Malformed> {
    let (sum, payload) = match packet {
        Packet::V4(ip) => (Sum::over4(ip.source, ip.destination, ip.protocol, 0), ip.payload),
        Packet::V6(ip) => (Sum::over6(ip.source, ip.destination, ip.protocol, 0), ip.payload),
    };
    let (datagram, header, checksum) = datagram(payload).ok_or(Malformed)?;
    // Over IPv4 a sender may do without.
    let none = checksum == 0 && matches!(packet, Packet::V4(_));
    let len = u16::try_from(header.len()).map_err(|_| Malformed)?;
    let right = || sum.add(&len.to_be_bytes()).add(header).finish() == 0;
    if open || none || right() { Ok(datagram) } else { Err(Malformed) }
}

/// A packet of either version.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Packet<'a> {
    V4(Ip4<'a>),
    V6(Ip6<'a>),
}

/// The datagram, all of its bytes, and its checksum.
fn datagram(payload: &[u8]) -> Option<(Datagram<'_>, &[u8], u16)> {
    let mut cursor = Cursor(payload);
    let (_source_port, destination_port) = (cursor.be16()?, cursor.be16()?);
    let len = usize::from(cursor.be16()?);
    let checksum = cursor.be16()?;
    let whole = payload.get(..len)?;
    Some((Datagram { destination_port, payload: whole.get(8..)? }, whole, checksum))
}

/// An ARP request for an address of IPv4 (RFC 826).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arp {
    pub(crate) sender_mac: Mac,
    pub(crate) sender: Ipv4Addr,
    pub(crate) target: Ipv4Addr,
}

impl Arp {
    /// None for anything but a request.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(payload);
        if cursor.array()? != [0, 1, 8, 0, 6, 4, 0, 1] {
            return None;
        }
        let (sender_mac, sender) = (cursor.array()?, cursor.ip4()?);
        let _unknown: Mac = cursor.array()?;
        Some(Self { sender_mac, sender, target: cursor.ip4()? })
    }
}
