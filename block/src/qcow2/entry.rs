//! Where things lie, and what table entries mean (QEMU docs/interop/qcow2.rst, "Cluster mapping").

use super::error::QcowError;
use super::header::Header;

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
const L1_RESERVED: u64 = 0x7f00_0000_0000_01ff;
const L2_RESERVED: u64 = 0x3f00_0000_0000_01fe;
/// Largest unit in which tables are read and written.
const MAX_SLICE: u64 = 4096;
/// Subclusters of a cluster, where there are any.
const SUBCLUSTERS: u64 = 32;

/// The sizes that all arithmetic goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) version: u32,
    pub(crate) cluster_bits: u32,
    pub(crate) extended: bool,
}

impl Geometry {
    pub(crate) fn of(header: &Header) -> Geometry {
        Geometry {
            version: header.version,
            cluster_bits: header.cluster_bits,
            extended: header.is_extended(),
        }
    }

    pub(crate) fn cluster_size(self) -> u64 {
        1 << self.cluster_bits
    }

    pub(crate) fn cluster_of(self, offset: u64) -> u64 {
        offset >> self.cluster_bits
    }

    pub(crate) fn in_cluster(self, offset: u64) -> u64 {
        offset & (self.cluster_size() - 1)
    }

    /// 64-bit words in an L2 entry.
    pub(crate) fn words(self) -> u64 {
        if self.extended { 2 } else { 1 }
    }

    /// Entries in an L2 table.
    pub(crate) fn l2_entries(self) -> u64 {
        self.cluster_size() / 8 / self.words()
    }

    /// Bytes in the pieces of an L2 table that are kept in memory.
    pub(crate) fn slice_bytes(self) -> u64 {
        self.cluster_size().min(MAX_SLICE)
    }

    pub(crate) fn slice_entries(self) -> u64 {
        self.slice_bytes() / 8 / self.words()
    }

    /// The unit in which data is there or not: a subcluster, or else a cluster.
    pub(crate) fn unit_size(self) -> u64 {
        if self.extended { self.cluster_size() / SUBCLUSTERS } else { self.cluster_size() }
    }

    /// Reads an L1 entry: the place of an L2 table.
    pub(crate) fn l1(self, entry: u64) -> Result<Option<L2Place>, QcowError> {
        let offset = entry & OFFSET;
        if entry & L1_RESERVED != 0 || self.in_cluster(offset) != 0 {
            return Err(QcowError::Corrupt("an L1 entry is malformed"));
        }
        Ok((offset != 0).then_some(L2Place { offset, owned: entry & COPIED != 0 }))
    }

    /// Reads an L2 entry.
    pub(crate) fn l2(self, entry: RawEntry) -> Result<Cluster, QcowError> {
        let bad = |what| Err(QcowError::Corrupt(what));
        let RawEntry { word, bitmap } = entry;
        if word & COMPRESSED != 0 {
            return if bitmap == 0 {
                Ok(Cluster::Compressed(Packed(word & !(COPIED | COMPRESSED))))
            } else {
                bad("a compressed cluster has subclusters")
            };
        }
        let host = word & OFFSET;
        if word & L2_RESERVED != 0 || self.in_cluster(host) != 0 {
            return bad("an L2 entry is malformed");
        }
        let zero = word & ZERO != 0;
        if zero && (self.version < 3 || self.extended) {
            return bad("an L2 entry has a zero flag where there is none");
        }
        let data = (host != 0).then_some(Host { offset: host, owned: word & COPIED != 0 });
        if self.extended {
            let map = Subclusters(bitmap);
            return match data {
                _ if map.present() & map.zero() != 0 => bad("a subcluster is both data and zero"),
                None if map.present() != 0 => bad("subclusters have data, and the cluster has none"),
                None if map.zero() == 0 => Ok(Cluster::Absent),
                data => Ok(Cluster::Divided(data, map)),
            };
        }
        Ok(match (zero, data) {
            (true, host) => Cluster::Zero(host),
            (false, Some(host)) => Cluster::Data(host),
            (false, None) => Cluster::Absent,
        })
    }

    /// Writes an L1 entry.
    pub(crate) fn l1_entry(offset: u64) -> u64 {
        offset | COPIED
    }

    /// An L1 entry, marked as owned or not.
    pub(crate) fn l1_mark(entry: u64, owned: bool) -> u64 {
        if owned { entry | COPIED } else { entry & !COPIED }
    }

    /// Writes an L2 entry.
    pub(crate) fn l2_entry(cluster: Cluster) -> RawEntry {
        let host = |host: Host| host.offset | if host.owned { COPIED } else { 0 };
        let (word, bitmap) = match cluster {
            Cluster::Absent => (0, 0),
            Cluster::Data(data) => (host(data), 0),
            Cluster::Zero(data) => (ZERO | data.map_or(0, host), 0),
            Cluster::Compressed(packed) => (COMPRESSED | packed.0, 0),
            Cluster::Divided(data, map) => (data.map_or(0, host), map.0),
        };
        RawEntry { word, bitmap }
    }
}

/// An L2 entry as it is stored; `bitmap` is there only with subclusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawEntry {
    pub(crate) word: u64,
    pub(crate) bitmap: u64,
}

/// Where an L2 table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct L2Place {
    pub(crate) offset: u64,
    /// Whether nothing else refers to it, so that it may be changed where it is.
    pub(crate) owned: bool,
}

/// A cluster of the host file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) offset: u64,
    /// Whether nothing else refers to it, so that it may be written where it is.
    pub(crate) owned: bool,
}

/// What an L2 entry says of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// Nothing: what the backing file has shows.
    Absent,
    Data(Host),
    /// Zeroes; the host cluster, if there is one, is kept for later.
    Zero(Option<Host>),
    Compressed(Packed),
    /// With subclusters.
    Divided(Option<Host>, Subclusters),
}

/// The two bitmaps of a cluster with subclusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subclusters(pub(crate) u64);

impl Subclusters {
    /// Bits of the subclusters that have data.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub(crate) fn present(self) -> u32 {
        self.0 as u32
    }

    /// Bits of the subclusters that read as zeroes.
    pub(crate) fn zero(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn new(present: u32, zero: u32) -> Subclusters {
        Subclusters(u64::from(zero) << 32 | u64::from(present))
    }
}

/// Where a compressed cluster's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Packed(pub(crate) u64);

impl Packed {
    fn bits(geometry: Geometry) -> u32 {
        62 - (geometry.cluster_bits - 8)
    }

    /// First byte in the host file.
    pub(crate) fn offset(self, geometry: Geometry) -> u64 {
        self.0 & ((1 << Packed::bits(geometry)) - 1)
    }

    /// Bytes up to the end of its last sector: at least as many as the stream has.
    pub(crate) fn len(self, geometry: Geometry) -> u64 {
        let sectors = (self.0 >> Packed::bits(geometry)) + 1;
        sectors * 512 - self.offset(geometry) % 512
    }

    /// Describes `len` bytes at `offset`.
    pub(crate) fn new(geometry: Geometry, offset: u64, len: u64) -> Packed {
        let sectors = (offset + len - 1) / 512 - offset / 512;
        Packed(offset | sectors << Packed::bits(geometry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: Geometry = Geometry { version: 3, cluster_bits: 16, extended: false };

    #[test]
    fn entries_read_as_written() {
        let host = Host { offset: 5 << 16, owned: true };
        let extended = Geometry { extended: true, ..STANDARD };
        let packed = Packed::new(STANDARD, 0x1_2345, 3000);
        assert_eq!((packed.offset(STANDARD), packed.len(STANDARD)), (0x1_2345, 3259));
        for cluster in [
            Cluster::Absent,
            Cluster::Data(host),
            Cluster::Zero(None),
            Cluster::Zero(Some(host)),
            Cluster::Compressed(packed),
        ] {
            assert_eq!(STANDARD.l2(Geometry::l2_entry(cluster)), Ok(cluster));
        }
        let divided = Cluster::Divided(Some(host), Subclusters::new(5, 8));
        assert_eq!(extended.l2(Geometry::l2_entry(divided)), Ok(divided));
    }

    #[test]
    fn malformed_entries_are_refused() {
        let version2 = Geometry { version: 2, ..STANDARD };
        let extended = Geometry { extended: true, ..STANDARD };
        let entry = |word, bitmap| RawEntry { word, bitmap };
        for (geometry, bad) in [
            (STANDARD, entry(1 << 9, 0)),
            (STANDARD, entry(1 << 16 | 1 << 1, 0)),
            (STANDARD, entry(1 << 16 | 1 << 56, 0)),
            (version2, entry(1 << 16 | 1, 0)),
            (extended, entry(1 << 16 | 1, 0)),
            (extended, entry(1 << 16, 1 << 32 | 1)),
            (extended, entry(0, 1)),
            (extended, entry(1 << 62, 1)),
        ] {
            assert!(geometry.l2(bad).is_err(), "{bad:x?}");
        }
        for bad in [1, 1 << 8, 1 << 56, 1 << 62, 1 << 9] {
            assert!(STANDARD.l1(bad).is_err(), "{bad:x}");
        }
    }
}
