//! The common table header, and tables laid one after the other.

/// OEM id in every table.
pub(super) const OEM_ID: [u8; 6] = *b"KUBEVM";
/// OEM table id in every table.
pub(super) const OEM_TABLE_ID: [u8; 8] = *b"KUBEVMM ";
/// OEM revision in every table.
pub(super) const OEM_REVISION: u32 = 1;
const CREATOR: [u8; 8] = *b"KVMM\x01\0\0\0";
const HEADER: usize = 36;
const CHECKSUM: usize = 9;
/// Tables begin on 16 bytes.
pub(super) const ALIGNMENT: u64 = 16;

/// A table out of its `body`: header, length and checksum (ACPI 6.5 §5.2.6).
pub(super) fn table(signature: [u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let length = HEADER + body.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&signature);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&[revision, 0]);
    bytes.extend_from_slice(&OEM_ID);
    bytes.extend_from_slice(&OEM_TABLE_ID);
    bytes.extend_from_slice(&OEM_REVISION.to_le_bytes());
    bytes.extend_from_slice(&CREATOR);
    bytes.extend_from_slice(body);
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(checksum) = bytes.get_mut(CHECKSUM) {
        *checksum = sum.wrapping_neg();
    }
    bytes
}

/// Tables with the addresses they get.
#[derive(Debug)]
pub(super) struct Placed {
    base: u64,
    bytes: Vec<u8>,
}

impl Placed {
    pub(super) fn new(base: u64) -> Self {
        Self { base, bytes: Vec::with_capacity(4096) }
    }

    /// Appends a table and returns its address.
    pub(super) fn add(&mut self, table: &[u8]) -> u64 {
        self.add_aligned(table, ALIGNMENT)
    }

    pub(super) fn add_aligned(&mut self, table: &[u8], alignment: u64) -> u64 {
        let end = self.base + self.bytes.len() as u64;
        let addr = end.next_multiple_of(alignment);
        let padding = usize::try_from(addr - end).unwrap_or(0);
        self.bytes.resize(self.bytes.len() + padding, 0);
        self.bytes.extend_from_slice(table);
        addr
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
