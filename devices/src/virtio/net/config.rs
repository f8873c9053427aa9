//! How a network card presents itself: features and configuration space (virtio 1.3 §5.1.3, §5.1.4).

use net::{HEADER_LEN, Link, Offloads};

use crate::virtio::config_space::ConfigSpace;
use crate::virtio::feature::{RING_EVENT_IDX, RING_INDIRECT_DESC};

pub(super) const CSUM: u64 = 1 << 0;
pub(super) const GUEST_CSUM: u64 = 1 << 1;
const MTU: u64 = 1 << 3;
const MAC: u64 = 1 << 5;
pub(super) const GUEST_TSO4: u64 = 1 << 7;
pub(super) const GUEST_TSO6: u64 = 1 << 8;
const GUEST_ECN: u64 = 1 << 9;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const HOST_ECN: u64 = 1 << 13;
pub(super) const MRG_RXBUF: u64 = 1 << 15;
const STATUS: u64 = 1 << 16;
const CTRL_VQ: u64 = 1 << 17;
const CTRL_RX: u64 = 1 << 18;
pub(super) const MQ: u64 = 1 << 22;
const CTRL_MAC_ADDR: u64 = 1 << 23;
const GUEST_USO4: u64 = 1 << 54;
const GUEST_USO6: u64 = 1 << 55;
const HOST_USO: u64 = 1 << 56;

/// Bit of the configuration's `status`: the cable is plugged in.
const LINK_UP: u16 = 1;
/// Most queue pairs that virtio allows is 32768; more than vCPUs make no sense.
const MAX_PAIRS: u16 = 256;
/// Smallest MTU that a device may offer (virtio 1.3 §5.1.4.1).
const MIN_MTU: u16 = 68;
/// Size of the control queue.
const CTRL_SIZE: u16 = 64;

/// Longest frame with its header that may come of segmentation (virtio 1.3 §5.1.6.3.1).
pub(super) const MAX_FRAME: u32 = HEADER_LEN + 65550;
/// Ethernet header and a VLAN tag.
const ETHERNET: u32 = 18;

/// How a network card appears to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// Hardware address.
    pub mac: [u8; 6],
    /// MTU to tell the guest, if not the link's.
    pub mtu: Option<u16>,
    /// Queue pairs, at least 1; the link's number is the limit.
    pub queue_pairs: u16,
    /// Frames that each queue holds: a power of two, 16 to 1024; what is not becomes one.
    pub queue_size: u16,
}

impl NetConfig {
    /// One queue pair of the usual size, and the link's MTU.
    pub fn new(mac: [u8; 6]) -> Self {
        Self { mac, mtu: None, queue_pairs: 1, queue_size: 256 }
    }

    pub(super) fn pairs(&self, link: &dyn Link) -> u16 {
        self.queue_pairs.min(link.queue_pairs()).clamp(1, MAX_PAIRS)
    }

    /// Sizes of receive, transmit, …, and control queues. Without `MQ` the control queue is the third, so that every
    /// queue there may be as large as the data queues.
    pub(super) fn queue_sizes(&self, link: &dyn Link) -> Vec<u16> {
        let size = self.queue_size.clamp(16, 1024).next_power_of_two();
        let mut sizes = vec![size; usize::from(self.pairs(link)) * 2];
        sizes.push(CTRL_SIZE);
        sizes
    }

    pub(super) fn mtu(&self, link: &dyn Link) -> Option<u16> {
        self.mtu.or_else(|| link.mtu()).filter(|mtu| *mtu >= MIN_MTU)
    }

    pub(super) fn features(&self, link: &dyn Link) -> u64 {
        let mut features = MAC | STATUS | MRG_RXBUF | CTRL_VQ | CTRL_RX | CTRL_MAC_ADDR;
        features |= RING_EVENT_IDX | RING_INDIRECT_DESC;
        if self.mtu(link).is_some() {
            features |= MTU;
        }
        if self.pairs(link) > 1 {
            features |= MQ;
        }
        let able = link.offloads().consistent();
        for (offload, guest, host) in OFFLOADS {
            if able.contains(offload) {
                features |= guest | host;
            }
        }
        features
    }

    /// Longest frame with its header that the link may deliver while `features` are in force.
    pub(super) fn longest_frame(&self, link: &dyn Link, features: u64) -> u32 {
        let mtu = link.mtu().or(self.mtu);
        match mtu {
            Some(mtu) if !guest_offloads(features).has_segments() => {
                HEADER_LEN + ETHERNET + u32::from(mtu.max(1500))
            }
            _ => MAX_FRAME,
        }
    }

    /// The configuration space, `struct virtio_net_config`.
    pub(super) fn space(&self, link: &dyn Link, mac: [u8; 6], up: bool) -> ConfigSpace {
        let status = if up { LINK_UP } else { 0 };
        let mut space = ConfigSpace::default();
        space
            .put(0, &mac)
            .put(6, &status.to_le_bytes())
            .put(8, &self.pairs(link).to_le_bytes())
            .put(10, &self.mtu(link).unwrap_or(0).to_le_bytes());
        space
    }
}

/// Offloads with the features that let the guest receive and send such frames. Both versions of IP share the latter
/// for UDP.
const OFFLOADS: [(Offloads, u64, u64); 6] = [
    (Offloads::CSUM, GUEST_CSUM, CSUM),
    (Offloads::TSO4, GUEST_TSO4, HOST_TSO4),
    (Offloads::TSO6, GUEST_TSO6, HOST_TSO6),
    (Offloads::ECN, GUEST_ECN, HOST_ECN),
    (Offloads::USO4, GUEST_USO4, HOST_USO),
    (Offloads::USO6, GUEST_USO6, HOST_USO),
];

/// Unfinished frames that a driver with these features takes.
pub(super) fn guest_offloads(features: u64) -> Offloads {
    let taken = OFFLOADS.iter().filter(|(_, guest, _)| features & guest != 0);
    taken.map(|(offload, _, _)| *offload).collect::<Offloads>().consistent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiated_features_become_offloads() {
        assert_eq!(guest_offloads(0), Offloads::NONE);
        assert_eq!(guest_offloads(GUEST_TSO4), Offloads::NONE, "nothing without checksums");
        assert_eq!(guest_offloads(GUEST_CSUM | GUEST_TSO4 | CSUM), Offloads::CSUM | Offloads::TSO4);
    }
}
