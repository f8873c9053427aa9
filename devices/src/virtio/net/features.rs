//! Feature bits of network cards (virtio 1.3 §5.1.3), and which offloads of a link they stand for.

use net::Offloads;

pub(super) const CSUM: u64 = 1 << 0;
pub(super) const GUEST_CSUM: u64 = 1 << 1;
pub(super) const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
pub(super) const MTU: u64 = 1 << 3;
pub(super) const MAC: u64 = 1 << 5;
pub(super) const GUEST_TSO4: u64 = 1 << 7;
pub(super) const GUEST_TSO6: u64 = 1 << 8;
const GUEST_ECN: u64 = 1 << 9;
pub(super) const HOST_TSO4: u64 = 1 << 11;
pub(super) const HOST_TSO6: u64 = 1 << 12;
pub(super) const HOST_ECN: u64 = 1 << 13;
pub(super) const MRG_RXBUF: u64 = 1 << 15;
pub(super) const STATUS: u64 = 1 << 16;
pub(super) const CTRL_VQ: u64 = 1 << 17;
pub(super) const CTRL_RX: u64 = 1 << 18;
pub(super) const CTRL_VLAN: u64 = 1 << 19;
pub(super) const CTRL_RX_EXTRA: u64 = 1 << 20;
pub(super) const GUEST_ANNOUNCE: u64 = 1 << 21;
pub(super) const MQ: u64 = 1 << 22;
pub(super) const CTRL_MAC_ADDR: u64 = 1 << 23;
const GUEST_USO4: u64 = 1 << 54;
const GUEST_USO6: u64 = 1 << 55;
pub(super) const HOST_USO: u64 = 1 << 56;
pub(super) const SPEED_DUPLEX: u64 = 1 << 63;

/// All that `CTRL_GUEST_OFFLOADS` can switch.
pub(super) const GUEST_OFFLOADS: u64 =
    GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_USO4 | GUEST_USO6;

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

/// Features of a card whose link is able to do this, both ways.
pub(super) fn offered(able: Offloads) -> u64 {
    let able = able.consistent();
    let features = OFFLOADS.iter().filter(|(offload, ..)| able.contains(*offload));
    features.fold(0, |all, (_, guest, host)| all | guest | host)
}

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
        assert_eq!(
            guest_offloads(GUEST_CSUM | GUEST_USO4 | GUEST_USO6),
            Offloads::CSUM | Offloads::USO4 | Offloads::USO6
        );
    }

    #[test]
    fn what_a_link_can_do_is_offered_for_both_ways() {
        assert_eq!(offered(Offloads::TSO4), 0);
        assert_eq!(offered(Offloads::CSUM | Offloads::USO4), CSUM | GUEST_CSUM);
        let uso = Offloads::CSUM | Offloads::USO4 | Offloads::USO6;
        assert_eq!(offered(uso), CSUM | GUEST_CSUM | HOST_USO | GUEST_USO4 | GUEST_USO6);
    }
}
