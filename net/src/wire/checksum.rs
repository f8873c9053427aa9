//! The internet checksum (RFC 1071).

use std::net::{Ipv4Addr, Ipv6Addr};

/// A sum in the making. All parts but the last have an even number of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// The pseudo header of UDP over IPv4 (RFC 768).
    pub(super) fn over4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: usize) -> Self {
        Self::default().add(&source.octets()).add(&destination.octets()).upper(protocol, len)
    }

    /// The pseudo header of IPv6 (RFC 8200 §8.1).
    pub(super) fn over6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: usize) -> Self {
        Self::default().add(&source.octets()).add(&destination.octets()).upper(protocol, len)
    }

    fn upper(self, protocol: u8, len: usize) -> Self {
        // A length has at most 32 bits, in halves of 16; as a number it adds up the same.
        Self(self.0 + u64::from(protocol) + u64::try_from(len).unwrap_or_default())
    }

    pub(super) fn add(mut self, bytes: &[u8]) -> Self {
        let (pairs, last) = bytes.as_chunks::<2>();
        self.0 += pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
        self.0 += last.iter().map(|byte| u64::from(*byte) << 8).sum::<u64>();
        self
    }

    /// What belongs into a checksum's field; over what has its checksum in place, 0.
    pub(super) fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap_or_default()
    }
}
