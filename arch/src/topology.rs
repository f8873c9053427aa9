//! Sockets, cores and threads, and the APIC ids that say which is which.

use serde::{Deserialize, Serialize};

/// Most vCPUs a topology may have: what KVM of any current kernel can create.
pub const MAX_VCPUS: u32 = 4096;

/// Why a topology cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// A factor is zero.
    #[error(
        "a CPU topology needs at least one socket, one core and one thread, not {sockets}x{cores}x{threads}"
    )]
    Zero {
        /// Sockets asked for.
        sockets: u32,
        /// Cores per socket asked for.
        cores: u32,
        /// Threads per core asked for.
        threads: u32,
    },
    /// The product is too large.
    #[error("{sockets} sockets x {cores} cores x {threads} threads are more than {MAX_VCPUS} vCPUs")]
    TooMany {
        /// Sockets asked for.
        sockets: u32,
        /// Cores per socket asked for.
        cores: u32,
        /// Threads per core asked for.
        threads: u32,
    },
}

/// A valid CPU topology: every factor at least 1, at most [`MAX_VCPUS`] vCPUs in all.
///
/// APIC ids are built as the processor manuals ask (Intel SDM vol. 3 §9.9.1): thread and core numbers in bit fields
/// just wide enough, the socket number above them. Ids have gaps when cores or threads are not powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32, u32)", into = "(u32, u32, u32)")]
pub struct Topology {
    sockets: u32,
    cores: u32,
    threads: u32,
}

/// Place of one vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Socket number.
    pub socket: u32,
    /// Core number within the socket.
    pub core: u32,
    /// Thread number within the core.
    pub thread: u32,
}

impl Topology {
    /// A topology of `sockets` sockets with `cores` cores of `threads` threads each.
    ///
    /// # Errors
    /// A zero factor, or more than [`MAX_VCPUS`] vCPUs.
    pub fn new(sockets: u32, cores: u32, threads: u32) -> Result<Self, TopologyError> {
        if sockets == 0 || cores == 0 || threads == 0 {
            return Err(TopologyError::Zero { sockets, cores, threads });
        }
        let vcpus = sockets.checked_mul(cores).and_then(|n| n.checked_mul(threads));
        match vcpus {
            Some(n) if n <= MAX_VCPUS => Ok(Self { sockets, cores, threads }),
            _ => Err(TopologyError::TooMany { sockets, cores, threads }),
        }
    }

    /// Sockets.
    #[must_use]
    pub fn sockets(&self) -> u32 {
        self.sockets
    }

    /// Cores in each socket.
    #[must_use]
    pub fn cores(&self) -> u32 {
        self.cores
    }

    /// Threads of each core.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// vCPUs in all.
    #[must_use]
    pub fn vcpus(&self) -> u32 {
        self.sockets * self.cores * self.threads
    }

    /// vCPUs in one socket.
    #[must_use]
    pub fn vcpus_per_socket(&self) -> u32 {
        self.cores * self.threads
    }

    /// Where vCPU `index` sits: threads count fastest, then cores, then sockets.
    #[must_use]
    pub fn place(&self, index: u32) -> Place {
        Place {
            thread: index % self.threads,
            core: index / self.threads % self.cores,
            socket: index / self.vcpus_per_socket(),
        }
    }

    /// APIC id bits below the core number.
    #[must_use]
    pub fn thread_bits(&self) -> u32 {
        bits_for(self.threads)
    }

    /// APIC id bits below the socket number.
    #[must_use]
    pub fn socket_shift(&self) -> u32 {
        self.thread_bits() + bits_for(self.cores)
    }

    /// (x2)APIC id of vCPU `index`, which is below [`Topology::vcpus`].
    #[must_use]
    pub fn apic_id(&self, index: u32) -> u32 {
        let place = self.place(index);
        let socket = place.socket.checked_shl(self.socket_shift()).unwrap_or(0);
        socket | place.core << self.thread_bits() | place.thread
    }

    /// The largest APIC id in use.
    #[must_use]
    pub fn max_apic_id(&self) -> u32 {
        self.apic_id(self.vcpus() - 1)
    }

    /// Whether some APIC id does not fit the 8 bits of xAPIC mode, where 255 means "all".
    #[must_use]
    pub fn needs_x2apic(&self) -> bool {
        self.max_apic_id() >= 255
    }
}

/// Bits needed to number `count` things.
fn bits_for(count: u32) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

impl TryFrom<(u32, u32, u32)> for Topology {
    type Error = TopologyError;

    fn try_from((sockets, cores, threads): (u32, u32, u32)) -> Result<Self, TopologyError> {
        Self::new(sockets, cores, threads)
    }
}

impl From<Topology> for (u32, u32, u32) {
    fn from(t: Topology) -> Self {
        (t.sockets, t.cores, t.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_core_counts_leave_gaps() {
        let t = Topology::new(2, 3, 2).unwrap();
        let ids: Vec<_> = (0..t.vcpus()).map(|i| t.apic_id(i)).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
        assert_eq!((t.thread_bits(), t.socket_shift()), (1, 3));
    }

    #[test]
    fn x2apic_from_id_255() {
        assert!(!Topology::new(1, 255, 1).unwrap().needs_x2apic());
        assert!(Topology::new(1, 256, 1).unwrap().needs_x2apic());
        assert!(Topology::new(128, 1, 1).is_ok_and(|t| !t.needs_x2apic()));
        // 65 sockets of 3 cores: the gaps carry the ids past 254 before the vCPUs do.
        assert!(Topology::new(65, 3, 1).unwrap().needs_x2apic());
    }

    #[test]
    fn refuses_nonsense() {
        assert!(matches!(Topology::new(0, 1, 1), Err(TopologyError::Zero { .. })));
        assert!(matches!(Topology::new(u32::MAX, u32::MAX, 2), Err(TopologyError::TooMany { .. })));
        assert!(Topology::new(1, MAX_VCPUS + 1, 1).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn ids_ascend(s in 1u32..16, c in 1u32..16, t in 1u32..16) {
            let topology = Topology::new(s, c, t).unwrap();
            let ids: Vec<_> = (0..topology.vcpus()).map(|i| topology.apic_id(i)).collect();
            prop_assert!(ids.windows(2).all(|w| w[0] < w[1]));
            prop_assert_eq!(ids.last().copied(), Some(topology.max_apic_id()));
        }
    }
}
