//! How a network card presents itself: features and configuration space (virtio 1.3 §5.1.3, §5.1.4).

use std::num::NonZeroU64;

use net::{HEADER_LEN, Link};

use super::features::{
    CTRL_GUEST_OFFLOADS, CTRL_MAC_ADDR, CTRL_RX, CTRL_RX_EXTRA, CTRL_VLAN, CTRL_VQ, GUEST_ANNOUNCE, MAC, MQ,
    MRG_RXBUF, MTU, SPEED_DUPLEX, STATUS, guest_offloads, offered,
};
use crate::virtio::RateLimit;
use crate::virtio::config_space::ConfigSpace;
use crate::virtio::feature::{RING_EVENT_IDX, RING_INDIRECT_DESC};

/// Bit of the configuration's `status`: the cable is plugged in.
pub(super) const LINK_UP: u16 = 1;
/// Bit of the configuration's `status`: the driver should tell the network where it is.
pub(super) const ANNOUNCE: u16 = 2;
/// Speed in Mbit/s where no limit says otherwise. A number is needed to bond interfaces and to compute their use; this
/// is what Linux says of its own virtual cables (veth).
const SPEED: u64 = 10_000;
/// The configuration's `duplex`: both ways at once.
const FULL_DUPLEX: u8 = 1;
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
    /// The cable is plugged in from the start.
    pub link_up: bool,
    /// Frames and bytes in a second, for each direction by itself.
    pub limit: RateLimit,
}

impl NetConfig {
    /// One queue pair of the usual size, and the link's MTU.
    pub fn new(mac: [u8; 6]) -> Self {
        let limit = RateLimit::default();
        Self { mac, mtu: None, queue_pairs: 1, queue_size: 256, link_up: true, limit }
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
        let mut features = MAC | STATUS | SPEED_DUPLEX | MRG_RXBUF | CTRL_VQ;
        features |= CTRL_RX | CTRL_RX_EXTRA | CTRL_VLAN | CTRL_MAC_ADDR | GUEST_ANNOUNCE;
        features |= RING_EVENT_IDX | RING_INDIRECT_DESC;
        if self.mtu(link).is_some() {
            features |= MTU;
        }
        if self.pairs(link) > 1 {
            features |= MQ;
        }
        let offloads = offered(link.offloads());
        if offloads != 0 {
            features |= offloads | CTRL_GUEST_OFFLOADS;
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
    pub(super) fn space(&self, link: &dyn Link, mac: [u8; 6], status: u16) -> ConfigSpace {
        let mut space = ConfigSpace::default();
        space
            .put(0, &mac)
            .put(6, &status.to_le_bytes())
            .put(8, &self.pairs(link).to_le_bytes())
            .put(10, &self.mtu(link).unwrap_or(0).to_le_bytes())
            .put(12, &self.speed().to_le_bytes())
            .put(16, &[FULL_DUPLEX]);
        space
    }

    /// Mbit/s, at least 1.
    fn speed(&self) -> u32 {
        let limit = self.limit.bytes.map(NonZeroU64::get);
        let speed = limit.map_or(SPEED, |bytes| bytes.saturating_mul(8) / 1_000_000);
        // The field's highest bit is not for numbers (virtio 1.3 §5.1.4).
        u32::try_from(speed.clamp(1, 0x7fff_ffff)).unwrap_or(1)
    }
}
