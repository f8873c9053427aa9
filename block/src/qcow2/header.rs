//! The header (QEMU docs/interop/qcow2.rst, "Header" and "Header extensions").

use super::error::QcowError;

/// `QFI\xfb`.
pub(crate) const MAGIC: u32 = 0x5146_49fb;
/// Bytes of the header that are looked at; everything in it lies in the first cluster, and the
/// parts that are used here in its first bytes.
pub(crate) const MAX_HEADER: usize = 64 << 10;

const V2_LEN: usize = 72;
const V3_LEN: usize = 104;
const MAX_L1_BYTES: u64 = 32 << 20;
const MAX_REFTABLE_BYTES: u64 = 8 << 20;
const MAX_SNAPSHOTS: u32 = 65_536;
const MAX_BACKING_NAME: usize = 1023;

pub(crate) const DIRTY: u64 = 1 << 0;
pub(crate) const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
pub(crate) const EXTENDED_L2: u64 = 1 << 4;
pub(crate) const LAZY_REFCOUNTS: u64 = 1 << 0;
const BITMAPS: u64 = 1 << 0;

const EXT_END: u32 = 0;
pub(crate) const EXT_BACKING_FORMAT: u32 = 0xe279_2aca;
pub(crate) const EXT_FEATURE_NAMES: u32 = 0x6803_f857;
const EXT_BITMAPS: u32 = 0x2385_2875;

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Raw deflate.
    #[default]
    Zlib,
    /// Zstandard.
    Zstd,
}

/// A header that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) cluster_bits: u32,
    /// As written; not always a multiple of 512.
    pub(crate) size: u64,
    pub(crate) l1_offset: u64,
    pub(crate) l1_size: u32,
    pub(crate) reftable_offset: u64,
    pub(crate) reftable_clusters: u32,
    pub(crate) refcount_order: u32,
    pub(crate) snapshots: u32,
    pub(crate) snapshots_offset: u64,
    pub(crate) incompatible: u64,
    pub(crate) compatible: u64,
    pub(crate) autoclear: u64,
    pub(crate) compression: Compression,
    pub(crate) backing: Option<String>,
    pub(crate) backing_format: Option<String>,
    pub(crate) has_bitmaps: bool,
}

/// Reads big-endian numbers out of the header's bytes; what is not there is an error.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&self, at: usize) -> Result<u32, QcowError> {
        let bytes = self.0.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map(|bytes| u32::from_be_bytes(*bytes)).ok_or(QcowError::Header("it is cut short"))
    }

    fn u64(&self, at: usize) -> Result<u64, QcowError> {
        Ok(u64::from(self.u32(at)?) << 32 | u64::from(self.u32(at.saturating_add(4))?))
    }
}

impl Header {
    /// Checks a header: `bytes` are the first [`MAX_HEADER`] of the file, or all of it.
    pub(crate) fn parse(bytes: &[u8], file_len: u64) -> Result<Header, QcowError> {
        let fields = Fields(bytes);
        if fields.u32(0).ok() != Some(MAGIC) {
            return Err(QcowError::NotQcow2);
        }
        let version = fields.u32(4)?;
        if !matches!(version, 2 | 3) {
            return Err(QcowError::Unsupported(format!("version {version} of the format"), ""));
        }
        if bytes.len() < V2_LEN {
            return Err(QcowError::Header("it is cut short"));
        }
        let cluster_bits = fields.u32(20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(QcowError::Header("its cluster size is not between 512 bytes and 2 MiB"));
        }
        let v3 = version == 3;
        let length = if v3 { fields.u32(100)? as usize } else { V2_LEN };
        if v3
            && (length < V3_LEN
                || !length.is_multiple_of(8)
                || length > 1 << cluster_bits
                || length > bytes.len())
        {
            return Err(QcowError::Header("its own length is wrong"));
        }
        match fields.u32(32)? {
            0 => {}
            1 => return Err(QcowError::Unsupported("AES encryption".into(), "")),
            2 => return Err(QcowError::Unsupported("LUKS encryption".into(), "")),
            _ => return Err(QcowError::Header("its encryption method is unknown")),
        }
        let v3_field = |at| if v3 { fields.u64(at) } else { Ok(0) };
        let mut header = Header {
            version,
            cluster_bits,
            size: fields.u64(24)?,
            l1_offset: fields.u64(40)?,
            l1_size: fields.u32(36)?,
            reftable_offset: fields.u64(48)?,
            reftable_clusters: fields.u32(56)?,
            refcount_order: if v3 { fields.u32(96)? } else { 4 },
            snapshots: fields.u32(60)?,
            snapshots_offset: fields.u64(64)?,
            incompatible: v3_field(72)?,
            compatible: v3_field(80)?,
            autoclear: v3_field(88)?,
            compression: Compression::Zlib,
            backing: None,
            backing_format: None,
            has_bitmaps: false,
        };
        header.backing = backing_name(&fields, cluster_bits, length)?;
        let names = header.extensions(bytes, length, fields.u64(8)?)?;
        header.check_features(&names)?;
        header.compression = compression(&header, bytes, length)?;
        header.check_tables(file_len)?;
        Ok(header)
    }

    pub(crate) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The disk's size: whole sectors, as QEMU rounds it.
    pub(crate) fn disk_size(&self) -> u64 {
        self.size.next_multiple_of(512)
    }

    pub(crate) fn is_extended(&self) -> bool {
        self.incompatible & EXTENDED_L2 != 0
    }

    /// L1 entries that a disk of the size needs.
    pub(crate) fn l1_needed(cluster_bits: u32, extended: bool, size: u64) -> u64 {
        let l2_bits = cluster_bits - if extended { 4 } else { 3 };
        size.div_ceil(1 << (cluster_bits + l2_bits))
    }

    fn check_features(&self, names: &[u8]) -> Result<(), QcowError> {
        if self.incompatible & DATA_FILE != 0 {
            return Err(QcowError::Unsupported("an external data file".into(), ""));
        }
        let known = DIRTY | CORRUPT | COMPRESSION | EXTENDED_L2;
        let unknown = self.incompatible & !known;
        if unknown != 0 {
            let name = feature_name(names, unknown.trailing_zeros());
            return Err(QcowError::Unsupported(format!("an unknown incompatible feature ({name})"), ""));
        }
        if self.is_extended() && self.cluster_bits < 14 {
            return Err(QcowError::Header("it has subclusters in clusters of less than 16 KiB"));
        }
        Ok(())
    }

    fn check_tables(&self, file_len: u64) -> Result<(), QcowError> {
        if self.size > i64::MAX as u64 - 511 {
            return Err(QcowError::Header("its disk is impossibly large"));
        }
        if self.refcount_order > 6 {
            return Err(QcowError::Header("its refcounts are wider than 64 bits"));
        }
        let l1_bytes = u64::from(self.l1_size) * 8;
        if l1_bytes > MAX_L1_BYTES {
            return Err(QcowError::Header("its L1 table is too large"));
        }
        if u64::from(self.l1_size) < Header::l1_needed(self.cluster_bits, self.is_extended(), self.size) {
            return Err(QcowError::Header("its L1 table is too small for its disk"));
        }
        if l1_bytes > 0 {
            self.check_place(self.l1_offset, l1_bytes, file_len, "its L1 table is misplaced")?;
        }
        let reftable_bytes = u64::from(self.reftable_clusters) << self.cluster_bits;
        if reftable_bytes == 0 || reftable_bytes > MAX_REFTABLE_BYTES {
            return Err(QcowError::Header("its refcount table is missing or too large"));
        }
        self.check_place(self.reftable_offset, reftable_bytes, file_len, "its refcount table is misplaced")?;
        if self.snapshots > MAX_SNAPSHOTS {
            return Err(QcowError::Header("it has too many snapshots"));
        }
        if self.snapshots > 0 {
            self.check_place(self.snapshots_offset, 40, file_len, "its snapshot table is misplaced")?;
        }
        Ok(())
    }

    /// A table must start at a cluster behind the header's and lie within the file.
    fn check_place(&self, offset: u64, len: u64, file_len: u64, what: &'static str) -> Result<(), QcowError> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= file_len && end < 1 << 56);
        let aligned = offset.is_multiple_of(self.cluster_size()) && offset > 0;
        if inside && aligned { Ok(()) } else { Err(QcowError::Header(what)) }
    }

    /// Reads the extensions; returns the feature name table.
    fn extensions(&mut self, bytes: &[u8], start: usize, backing_at: u64) -> Result<Vec<u8>, QcowError> {
        let bad = || QcowError::Header("an extension of it reaches too far");
        let mut names = None;
        let mut end = bytes.len().min(1 << self.cluster_bits);
        if self.backing.is_some() {
            end = end.min(usize::try_from(backing_at).unwrap_or(end));
        }
        let area = Fields(bytes.get(..end).ok_or_else(bad)?);
        let mut at = start;
        while at.saturating_add(8) <= end {
            let (kind, len) = (area.u32(at)?, area.u32(at + 4)? as usize);
            let data = area.0.get(at + 8..).and_then(|rest| rest.get(..len)).ok_or_else(bad)?;
            let twice = match kind {
                EXT_END => break,
                EXT_BACKING_FORMAT => {
                    let name =
                        std::str::from_utf8(data).map_err(|_| QcowError::Header("a name is not UTF-8"))?;
                    self.backing_format.replace(name.to_owned()).is_some()
                }
                EXT_FEATURE_NAMES => names.replace(data.to_vec()).is_some(),
                EXT_BITMAPS => std::mem::replace(&mut self.has_bitmaps, self.autoclear & BITMAPS != 0),
                // Unknown extensions may be ignored by those who do not know them.
                _ => false,
            };
            if twice {
                return Err(QcowError::Header("an extension of it is there twice"));
            }
            at = (at + 8).saturating_add(len.next_multiple_of(8));
        }
        Ok(names.unwrap_or_default())
    }
}

fn backing_name(fields: &Fields<'_>, cluster_bits: u32, header: usize) -> Result<Option<String>, QcowError> {
    let (offset, len) = (fields.u64(8)?, fields.u32(16)? as usize);
    if offset == 0 || len == 0 {
        return Ok(None);
    }
    let bad = || QcowError::Header("its backing file's name is misplaced");
    let offset = usize::try_from(offset).map_err(|_| bad())?;
    let end = offset.checked_add(len).ok_or_else(bad)?;
    if len > MAX_BACKING_NAME || end > 1 << cluster_bits || offset < header {
        return Err(bad());
    }
    let name = fields.0.get(offset..end).ok_or_else(bad)?;
    match std::str::from_utf8(name) {
        Ok(name) if !name.contains('\0') => Ok(Some(name.to_owned())),
        _ => Err(QcowError::Header("its backing file's name is not a name")),
    }
}

fn compression(header: &Header, bytes: &[u8], length: usize) -> Result<Compression, QcowError> {
    let kind =
        if header.version == 3 && length > V3_LEN { bytes.get(V3_LEN).copied().unwrap_or(0) } else { 0 };
    match (kind, header.incompatible & COMPRESSION != 0) {
        (0, false) => Ok(Compression::Zlib),
        (1, true) => Ok(Compression::Zstd),
        (0 | 1, _) => Err(QcowError::Header("its compression type and feature bit disagree")),
        (other, _) => Err(QcowError::Unsupported(format!("compression type {other}"), "")),
    }
}

/// What an image calls its feature, made safe to print.
fn feature_name(table: &[u8], bit: u32) -> String {
    let entries = table.chunks_exact(48);
    let found = entries
        .filter_map(|entry| entry.split_at_checked(2))
        .find(|(key, _)| matches!(key, [0, number] if u32::from(*number) == bit));
    let name = found.map(|(_, name)| name.split(|&byte| byte == 0).next().unwrap_or_default());
    match name {
        Some(name) if !name.is_empty() => name.escape_ascii().to_string(),
        _ => format!("bit {bit}"),
    }
}
