//! What the guest's kernel says of itself for those who read its memory (Linux: Documentation/admin-guide/kdump/vmcoreinfo.rst).
//!
//! It tells by a file of the firmware configuration device where its note is (QEMU: docs/specs/vmcoreinfo).

use devices::GuestRam;
use devices::platform::fw_cfg::FwCfgItem;
use vm_memory::{Bytes, GuestAddress};

/// Name of the file.
pub const FILE: &str = "etc/vmcoreinfo";

/// The format of both sides: an ELF note.
const ELF: u16 = 1;
/// Bytes of a note's header.
const HEADER: usize = 12;
/// The note's name, with the zero that ends it and padding.
const NAME: [u8; 12] = *b"VMCOREINFO\0\0";
const NAME_LENGTH: u32 = 11;
/// Longest note that is taken: Linux's has a page at most.
const LONGEST: u32 = 64 << 10;

/// The file as the guest finds it: the host takes notes, and the guest has given none.
pub fn item() -> FwCfgItem {
    let mut contents = ELF.to_le_bytes().to_vec();
    contents.resize(16, 0);
    FwCfgItem::Writable(FILE.to_owned(), contents)
}

/// The note that the guest points to, if it points to one. `written` is what it wrote to the file.
pub fn note(written: &[u8], ram: &GuestRam) -> Option<Vec<u8>> {
    let format = u16::from_le_bytes(written.get(2..4)?.try_into().ok()?);
    let size = u32::from_le_bytes(written.get(4..8)?.try_into().ok()?);
    let address = u64::from_le_bytes(written.get(8..16)?.try_into().ok()?);
    if format != ELF || size > LONGEST {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    ram.read_slice(&mut bytes, GuestAddress(address)).ok()?;
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (name, contents) = (word(0)?, usize::try_from(word(4)?).ok()?);
    let is_one = name == NAME_LENGTH && bytes.get(HEADER..HEADER + NAME.len())? == NAME;
    let end = (HEADER + NAME.len()).checked_add(contents.checked_next_multiple_of(4)?)?;
    // Behind it may be anything.
    bytes.get(..end).filter(|_| is_one && contents > 0).map(<[u8]>::to_vec)
}
