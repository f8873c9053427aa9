//! Which of the frames that arrive the driver wants (virtio 1.3 §5.1.6.5.1 to §5.1.6.5.4).
//!
//! A bridge floods frames to all its ports, so that a card on a tap hears more than its driver asked for. What the driver
//! has not asked for costs it an interrupt and a look; here it costs a look.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Most addresses of a kind that are told apart; a driver with more gets all frames of that kind.
const MAX_ADDRESSES: usize = 64;
/// EtherType of a VLAN tag (IEEE 802.1Q).
const TAGGED: [u8; 2] = [0x81, 0x00];
/// VLANs there are.
const VLANS: u16 = 4096;

/// Bytes of a frame that decide: addresses, EtherType, tag.
pub(super) const DECISIVE: usize = 16;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// What the driver can switch with a command each, in the order of the commands' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Promiscuous,
    AllMulticast,
    AllUnicast,
    NoMulticast,
    NoUnicast,
    NoBroadcast,
}

impl Mode {
    /// The mode that command `number` of the class switches.
    pub(super) fn of_command(number: u8) -> Option<Self> {
        [
            Self::Promiscuous,
            Self::AllMulticast,
            Self::AllUnicast,
            Self::NoMulticast,
            Self::NoUnicast,
            Self::NoBroadcast,
        ]
        .get(usize::from(number))
        .copied()
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Addresses of a kind that the driver listens to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Addresses {
    /// These.
    Only(Vec<Mac>),
    /// More than are told apart.
    TooMany,
}

impl Addresses {
    /// Collects a table of `count` addresses; `None` if one is missing.
    pub(super) fn collect(count: u32, addresses: impl Iterator<Item = Option<Mac>>) -> Option<Self> {
        match usize::try_from(count) {
            Ok(count) if count <= MAX_ADDRESSES => {
                addresses.take(count).collect::<Option<_>>().map(Self::Only)
            }
            _ => Some(Self::TooMany),
        }
    }

    fn contains(&self, address: &[u8]) -> bool {
        match self {
            Self::Only(list) => list.iter().any(|mac| mac == address),
            Self::TooMany => true,
        }
    }

    fn is_bounded(&self) -> bool {
        !matches!(self, Self::Only(list) if list.len() > MAX_ADDRESSES)
    }
}

/// What the driver has said it wants. A driver that has said nothing wants everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    /// Bits of [`Mode`].
    modes: u8,
    pub(super) unicast: Addresses,
    pub(super) multicast: Addresses,
    vlans: BTreeSet<u16>,
}

impl Default for Filter {
    fn default() -> Self {
        let none = || Addresses::Only(Vec::new());
        Self { modes: Mode::Promiscuous.bit(), unicast: none(), multicast: none(), vlans: BTreeSet::new() }
    }
}

impl Filter {
    pub(super) fn set(&mut self, mode: Mode, on: bool) {
        self.modes = if on { self.modes | mode.bit() } else { self.modes & !mode.bit() };
    }

    pub(super) const fn has(&self, mode: Mode) -> bool {
        self.modes & mode.bit() != 0
    }

    /// Adds or removes a VLAN; false if there is none of this number.
    pub(super) fn set_vlan(&mut self, vlan: u16, wanted: bool) -> bool {
        if vlan < VLANS {
            if wanted {
                self.vlans.insert(vlan)
            } else {
                self.vlans.remove(&vlan)
            };
        }
        vlan < VLANS
    }

    /// Whether a frame that begins like this is for the driver, whose own address is `own`. `by_vlan` is whether it
    /// chose to name its VLANs.
    pub(super) fn wants(&self, start: &[u8; DECISIVE], own: Mac, by_vlan: bool) -> bool {
        if self.has(Mode::Promiscuous) {
            return true;
        }
        let [a, b, c, d, e, f, _, _, _, _, _, _, kind @ .., high, low] = *start;
        if by_vlan && kind == TAGGED && !self.vlans.contains(&(u16::from_be_bytes([high, low]) % VLANS)) {
            return false;
        }
        let to = [a, b, c, d, e, f];
        if to == [0xff; 6] {
            !self.has(Mode::NoBroadcast)
        } else if a & 1 != 0 {
            !self.has(Mode::NoMulticast) && (self.has(Mode::AllMulticast) || self.multicast.contains(&to))
        } else {
            !self.has(Mode::NoUnicast)
                && (to == own || self.has(Mode::AllUnicast) || self.unicast.contains(&to))
        }
    }

    /// Whether all numbers are within their ranges: a state may come from anywhere.
    pub(super) fn is_valid(&self) -> bool {
        let vlans = self.vlans.last().is_none_or(|last| *last < VLANS);
        vlans && self.unicast.is_bounded() && self.multicast.is_bounded()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = [2, 0, 0, 0, 0, 1];
    const OTHER: Mac = [2, 0, 0, 0, 0, 9];
    const GROUP: Mac = [0x33, 0x33, 0, 0, 0, 1];
    const ALL: Mac = [0xff; 6];

    fn start(to: Mac, kind: [u8; 2], tag: u16) -> [u8; DECISIVE] {
        let [high, low] = tag.to_be_bytes();
        let [a, b, c, d, e, f] = to;
        [a, b, c, d, e, f, 2, 0, 0, 0, 0, 7, kind[0], kind[1], high, low]
    }

    fn wanted(filter: &Filter) -> [bool; 4] {
        [OWN, OTHER, GROUP, ALL].map(|to| filter.wants(&start(to, [8, 0], 0), OWN, true))
    }

    #[test]
    fn modes_and_tables_decide() {
        let mut filter = Filter::default();
        assert_eq!(wanted(&filter), [true; 4], "a driver that says nothing gets all");
        filter.set(Mode::Promiscuous, false);
        assert_eq!(wanted(&filter), [true, false, false, true]);
        filter.unicast = Addresses::collect(1, [Some(OTHER)].into_iter()).unwrap();
        filter.multicast = Addresses::collect(1, [Some(GROUP)].into_iter()).unwrap();
        assert_eq!(wanted(&filter), [true; 4]);
        for mode in [Mode::NoUnicast, Mode::NoMulticast, Mode::NoBroadcast] {
            filter.set(mode, true);
        }
        assert_eq!(wanted(&filter), [false; 4]);
        filter = Filter::default();
        filter.set(Mode::Promiscuous, false);
        filter.set(Mode::AllMulticast, true);
        assert_eq!(wanted(&filter), [true, false, true, true]);
        filter.set(Mode::AllUnicast, true);
        assert_eq!(wanted(&filter), [true; 4]);
    }

    #[test]
    fn tables_that_are_too_long_mean_all_and_those_cut_short_are_refused() {
        let endless = || std::iter::repeat(Some(OTHER));
        assert_eq!(Addresses::collect(65, endless()), Some(Addresses::TooMany));
        assert_eq!(Addresses::collect(u32::MAX, std::iter::empty()), Some(Addresses::TooMany));
        assert_eq!(Addresses::collect(64, endless()), Some(Addresses::Only(vec![OTHER; 64])));
        assert_eq!(Addresses::collect(2, [Some(OTHER), None].into_iter()), None);
    }

    #[test]
    fn only_vlans_that_were_named_are_heard() {
        let mut filter = Filter::default();
        let tagged = |tag| start(ALL, TAGGED, tag);
        assert!(filter.wants(&tagged(5), OWN, true));
        filter.set(Mode::Promiscuous, false);
        assert!(filter.wants(&tagged(5), OWN, false) && !filter.wants(&tagged(5), OWN, true));
        assert!(filter.set_vlan(5, true) && !filter.set_vlan(4096, true));
        assert!(filter.wants(&tagged(0xe005), OWN, true), "priority is no part of the number");
        assert!(!filter.wants(&tagged(6), OWN, true));
        assert!(filter.set_vlan(5, false) && !filter.wants(&tagged(5), OWN, true));
        assert!(filter.is_valid());
    }
}
