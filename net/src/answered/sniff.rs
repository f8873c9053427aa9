//! Telling from the first bytes of a frame whether it might be for us. Every frame that the guest sends comes by here.

use crate::dhcp::{Answers, v4, v6};
use crate::wire::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMPV6, UDP};
use crate::{HEADER_LEN, IoBuf, gather};

/// Where the EtherType is, in a frame behind its virtio header.
const ETHERTYPE_AT: usize = HEADER_LEN as usize + 12;
/// Bytes from there to the end of the ports behind an IPv6 header, or those behind an IPv4 header without options.
const HEAD: usize = 2 + 40 + 4;

/// IPv4 without options: version and length of the header.
const PLAIN_IPV4: u8 = 0x45;
/// ICMPv6 messages (RFC 4861 §4).
pub(super) const ROUTER_SOLICITATION: u8 = 133;
pub(super) const NEIGHBOUR_SOLICITATION: u8 = 135;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interest {
    dhcp4: bool,
    dhcp6: bool,
    routers: bool,
    neighbours4: bool,
    neighbours6: bool,
}

impl Interest {
    pub(super) fn of(answers: &Answers) -> Self {
        Self {
            dhcp4: answers.lease4.is_some(),
            dhcp6: answers.lease6.is_some(),
            routers: answers.advert.is_some(),
            neighbours4: answers.neighbours.iter().any(std::net::IpAddr::is_ipv4),
            neighbours6: answers.neighbours.iter().any(std::net::IpAddr::is_ipv6),
        }
    }

    /// Whether the frame is one to look into.
    pub(super) fn covers(self, bufs: &[IoBuf]) -> bool {
        let head = head(bufs);
        match u16::from_be_bytes([head[0], head[1]]) {
            ETHERTYPE_IPV4 => head[11] == UDP && self.dhcp4 && port4(&head, bufs) == v4::SERVER_PORT,
            ETHERTYPE_IPV6 => self.covers6(&head),
            ETHERTYPE_ARP => self.neighbours4,
            _ => false,
        }
    }

    fn covers6(self, head: &[u8; HEAD]) -> bool {
        match (head[8], head[42]) {
            (UDP, _) => self.dhcp6 && u16::from_be_bytes([head[44], head[45]]) == v6::SERVER_PORT,
            (ICMPV6, ROUTER_SOLICITATION) => self.routers,
            (ICMPV6, NEIGHBOUR_SOLICITATION) => self.neighbours6,
            _ => false,
        }
    }
}

/// The first bytes from the EtherType on; zeros where there are none.
fn head(bufs: &[IoBuf]) -> [u8; HEAD] {
    // All but short frames have them in one piece: with the virtio header, or in the buffer after it.
    let (buf, at) = match bufs {
        [first, second, ..] if first.len() == ETHERTYPE_AT - 12 => (second, 12),
        [first, ..] => (first, ETHERTYPE_AT),
        [] => return [0; HEAD],
    };
    buf.peek(at).unwrap_or_else(|| {
        let mut head = [0; HEAD];
        gather(bufs, ETHERTYPE_AT, &mut head);
        head
    })
}

/// Port of the receiver.
fn port4(head: &[u8; HEAD], bufs: &[IoBuf]) -> u16 {
    if head[2] == PLAIN_IPV4 {
        return u16::from_be_bytes([head[24], head[25]]);
    }
    let header_len = usize::from(head[2] & 0xf) * 4;
    let mut port = [0; 2];
    gather(bufs, ETHERTYPE_AT + 2 + header_len + 2, &mut port);
    u16::from_be_bytes(port)
}
