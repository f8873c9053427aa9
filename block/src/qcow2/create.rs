//! The first bytes of a new image.

use super::header::{
    Compression, EXT_BACKING_FORMAT, EXT_FEATURE_NAMES, EXTENDED_L2, Header, LAZY_REFCOUNTS, MAGIC,
};
use super::refcount::write_count;

/// 16-bit refcounts: the only ones of version 2, and what everybody has in version 3.
const USUAL_REFCOUNT_ORDER: u32 = 4;
const V2_HEADER_LEN: usize = 72;
const HEADER_LEN: usize = 112;
const COMPRESSION: u64 = 1 << 3;
const MAX_BACKING_NAME: usize = 1023;

/// What a new image shall be.
#[derive(Clone, Debug)]
pub(crate) struct NewImage {
    pub(crate) size: u64,
    pub(crate) cluster_size: u32,
    pub(crate) compression: Compression,
    pub(crate) extended_l2: bool,
    /// Version 2 of the format instead of 3.
    pub(crate) old: bool,
    /// Bits of a refcount: a power of two, 1 to 64.
    pub(crate) refcount_bits: u32,
    pub(crate) lazy_refcounts: bool,
    /// Name and format.
    pub(crate) backing: Option<(String, String)>,
}

impl NewImage {
    /// The whole file: header, refcount table, refcount blocks, L1 table.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, &'static str> {
        let cluster = self.cluster_size;
        if !cluster.is_power_of_two() || !(512..=2 << 20).contains(&cluster) {
            return Err("its cluster size must be a power of two from 512 bytes to 2 MiB");
        }
        if self.extended_l2 && cluster < 16 << 10 {
            return Err("subclusters need clusters of at least 16 KiB");
        }
        let order = self.refcount_order()?;
        let cluster_bits = cluster.trailing_zeros();
        let size = u64::from(cluster);
        let l1_entries = Header::l1_needed(cluster_bits, self.extended_l2, self.size);
        let l1_entries = u32::try_from(l1_entries).ok().filter(|&entries| u64::from(entries) * 8 <= 32 << 20);
        let l1_entries = l1_entries.ok_or("its clusters are too small for a disk of its size")?;
        let l1_clusters = (u64::from(l1_entries) * 8).div_ceil(size);

        // Header, refcount table, blocks, L1 table: as many blocks as count them all.
        let per_block = (size * 8) >> order;
        let mut blocks = 1;
        let (table_clusters, used) = loop {
            let table = (blocks * 8u64).div_ceil(size);
            let used = 1 + table + blocks + l1_clusters;
            if used <= blocks * per_block {
                break (table, used);
            }
            blocks += 1;
        };
        let l1_offset = (1 + table_clusters + blocks) * size;
        let bytes_len = usize::try_from(used * size).map_err(|_| "it is too large")?;
        let mut bytes = vec![0; bytes_len];
        self.header(&mut bytes, l1_entries, l1_offset, table_clusters)?;
        for block in 0..blocks {
            let place = (1 + table_clusters + block) * size;
            put(&mut bytes, size + block * 8, &place.to_be_bytes());
            let at = usize::try_from(place).unwrap_or(usize::MAX);
            if let Some(block_bytes) = bytes.get_mut(at..) {
                for cluster in block * per_block..used.min((block + 1) * per_block) {
                    write_count(block_bytes, order, cluster - block * per_block, 1);
                }
            }
        }
        Ok(bytes)
    }

    fn refcount_order(&self) -> Result<u32, &'static str> {
        if !self.refcount_bits.is_power_of_two() || self.refcount_bits > 64 {
            return Err("its refcounts must have 1, 2, 4, 8, 16, 32 or 64 bits");
        }
        let order = self.refcount_bits.trailing_zeros();
        let plain = order == USUAL_REFCOUNT_ORDER
            && !self.lazy_refcounts
            && !self.extended_l2
            && self.compression == Compression::Zlib;
        if self.old && !plain {
            return Err(
                "version 2 has neither other refcounts, lazy ones, subclusters nor zstd (compat=1.1 has)",
            );
        }
        Ok(order)
    }

    fn header(
        &self,
        bytes: &mut [u8],
        l1_entries: u32,
        l1_offset: u64,
        table_clusters: u64,
    ) -> Result<(), &'static str> {
        let zstd = self.compression == Compression::Zstd;
        let incompatible =
            if zstd { COMPRESSION } else { 0 } | if self.extended_l2 { EXTENDED_L2 } else { 0 };
        let table_clusters = u32::try_from(table_clusters).map_err(|_| "it is too large")?;
        let fields32 = [
            (0, MAGIC),
            (4, if self.old { 2 } else { 3 }),
            (20, self.cluster_size.trailing_zeros()),
            (36, l1_entries),
            (56, table_clusters),
        ];
        for (at, value) in fields32 {
            put(bytes, at, &value.to_be_bytes());
        }
        let fields64 = [(24, self.size), (40, l1_offset), (48, self.cluster_size.into())];
        for (at, value) in fields64 {
            put(bytes, at, &value.to_be_bytes());
        }
        if !self.old {
            let lazy = if self.lazy_refcounts { LAZY_REFCOUNTS } else { 0 };
            put(bytes, 72, &incompatible.to_be_bytes());
            put(bytes, 80, &lazy.to_be_bytes());
            put(bytes, 96, &self.refcount_bits.trailing_zeros().to_be_bytes());
            put(bytes, 100, &112u32.to_be_bytes());
            put(bytes, 104, &[u8::from(zstd)]);
        }
        let mut at = if self.old { V2_HEADER_LEN } else { HEADER_LEN };
        let cluster = usize::try_from(self.cluster_size).unwrap_or(0);
        if let Some((name, format)) = &self.backing {
            at = extension(bytes, at, EXT_BACKING_FORMAT, format.as_bytes());
            let name_at = at + 8;
            if name.is_empty() || name.len() > MAX_BACKING_NAME || name_at + name.len() > cluster {
                return Err(
                    "its backing file's name must have 1 to 1023 bytes, and fit into the first cluster",
                );
            }
            put(bytes, 8, &(name_at as u64).to_be_bytes());
            put(bytes, 16, &u32::try_from(name.len()).unwrap_or(0).to_be_bytes());
            put(bytes, name_at as u64, name.as_bytes());
        } else if cluster >= 4096 && !self.old {
            // Names for those who do not know the features.
            let names = feature_names();
            extension(bytes, at, EXT_FEATURE_NAMES, &names);
        }
        Ok(())
    }
}

/// Writes an extension; returns where the next one goes. Zeroes are the end mark.
fn extension(bytes: &mut [u8], at: usize, kind: u32, data: &[u8]) -> usize {
    put(bytes, at as u64, &kind.to_be_bytes());
    put(bytes, at as u64 + 4, &u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
    put(bytes, at as u64 + 8, data);
    at + 8 + data.len().next_multiple_of(8)
}

fn feature_names() -> Vec<u8> {
    let known: [(u8, &[u8]); 5] = [
        (0, b"dirty bit"),
        (1, b"corrupt bit"),
        (2, b"external data file"),
        (3, b"compression type"),
        (4, b"extended L2 entries"),
    ];
    let mut table = Vec::with_capacity(known.len() * 48);
    for (bit, name) in known {
        let start = table.len();
        table.extend([0, bit]);
        table.extend(name);
        table.resize(start + 48, 0);
    }
    table
}

fn put(bytes: &mut [u8], at: u64, value: &[u8]) {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}
