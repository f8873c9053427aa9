//! Work that sender and receiver may leave to each other.

use std::fmt;
use std::ops::{BitAnd, BitOr};

/// A set of kinds of frames that need not be finished by their sender.
///
/// The bits are the kernel's `TUN_F_*` (linux/if_tun.h), so that a set is also the argument of `TUNSETOFFLOAD`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads(u32);

impl Offloads {
    /// Frames are finished: checksums filled in, none longer than the link allows.
    pub const NONE: Self = Self(0);
    /// Checksums may be left open.
    pub const CSUM: Self = Self(0x01);
    /// TCP over IPv4 may come in segments longer than the link allows.
    pub const TSO4: Self = Self(0x02);
    /// The same over IPv6.
    pub const TSO6: Self = Self(0x04);
    /// Such segments may carry congestion marks.
    pub const ECN: Self = Self(0x08);
    /// UDP over IPv4 may come in trains of datagrams (kernel 6.2 and later).
    pub const USO4: Self = Self(0x20);
    /// The same over IPv6.
    pub const USO6: Self = Self(0x40);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::CSUM, "csum"),
        (Self::TSO4, "tso4"),
        (Self::TSO6, "tso6"),
        (Self::ECN, "ecn"),
        (Self::USO4, "uso4"),
        (Self::USO6, "uso6"),
    ];

    /// Whether all of `other` is in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The largest subset that makes sense to the kernel: nothing without checksums, congestion marks only with
    /// TCP segments, UDP trains for both versions of IP or for none.
    #[must_use]
    pub fn consistent(self) -> Self {
        if !self.contains(Self::CSUM) {
            return Self::NONE;
        }
        let mut bits = self.0;
        if bits & (Self::TSO4.0 | Self::TSO6.0) == 0 {
            bits &= !Self::ECN.0;
        }
        let both = Self::USO4.0 | Self::USO6.0;
        if bits & both != both {
            bits &= !both;
        }
        Self(bits)
    }

    /// Whether a frame may be longer than the link allows.
    pub const fn has_segments(self) -> bool {
        self.0 & (Self::TSO4.0 | Self::TSO6.0 | Self::USO4.0 | Self::USO6.0) != 0
    }

    /// As the kernel's `TUN_F_*` bits.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for Offloads {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Offloads {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<Offloads> for Offloads {
    fn from_iter<I: IntoIterator<Item = Offloads>>(sets: I) -> Self {
        sets.into_iter().fold(Self::NONE, BitOr::bitor)
    }
}

impl fmt::Debug for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(set, _)| self.contains(*set)).map(|(_, name)| name);
        f.debug_set().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_would_refuse_is_left_out() {
        let all = Offloads::NAMES.iter().map(|(set, _)| *set).collect::<Offloads>();
        assert_eq!(all.consistent(), all);
        assert_eq!((Offloads::TSO4 | Offloads::USO4).consistent(), Offloads::NONE);
        assert_eq!((Offloads::CSUM | Offloads::ECN).consistent(), Offloads::CSUM);
        assert_eq!(
            (Offloads::CSUM | Offloads::USO6 | Offloads::TSO6).consistent(),
            Offloads::CSUM | Offloads::TSO6
        );
    }

    #[test]
    fn only_long_frames_count_as_segments() {
        assert!(!(Offloads::CSUM | Offloads::ECN).has_segments());
        assert!((Offloads::CSUM | Offloads::USO4).has_segments());
        assert_eq!(format!("{:?}", Offloads::CSUM | Offloads::TSO6), "{\"csum\", \"tso6\"}");
    }
}
