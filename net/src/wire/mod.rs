//! Frames read and written: Ethernet, ARP, IP, UDP and ICMPv6, as far as answering takes.

mod build;
mod checksum;
mod cursor;
mod parse;
#[cfg(test)]
mod tests;

pub(crate) use build::{Ends4, Ends6, arp_reply, icmp6, udp4, udp6};
pub(crate) use cursor::Cursor;
pub(crate) use parse::{Arp, Ethernet, Ip4, Ip6, Malformed, Packet, udp};

/// A hardware address, as frames hold it.
pub(crate) type Mac = [u8; 6];

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;

pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
