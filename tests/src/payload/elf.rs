//! Kernels made in memory: an ELF with one segment and the note that names
//! PVH's entry point (Xen's `public/elfnote.h`, `XEN_ELFNOTE_PHYS32_ENTRY`).

/// Where payloads are loaded and entered.
pub const LOAD: u32 = 0x10_0000;

const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const NOTE_TYPE: u32 = 18;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

/// A kernel of `code`, which has `bss` zeroed bytes behind it.
#[must_use]
pub fn pvh(code: &[u8], bss: u64) -> Vec<u8> {
    let note = note();
    let note_at = HEADER + 2 * PROGRAM_HEADER;
    let code_at = (note_at + len(&note)).next_multiple_of(4096);
    let load = u64::from(LOAD);
    let mut elf = Vec::new();
    elf.extend_from_slice(&[0x7F, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend_from_slice(&2u16.to_le_bytes()); // ET_EXEC
    elf.extend_from_slice(&62u16.to_le_bytes()); // EM_X86_64
    elf.extend_from_slice(&1u32.to_le_bytes());
    for word in [load, HEADER, 0] {
        elf.extend_from_slice(&word.to_le_bytes()); // e_entry, e_phoff, e_shoff
    }
    elf.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, 2, 64, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes()); // e_ehsize … e_shstrndx
    }
    program_header(&mut elf, PT_LOAD, 7, [code_at, load, load, len(code), len(code) + bss, 4096]);
    program_header(&mut elf, PT_NOTE, 4, [note_at, 0, 0, len(&note), len(&note), 4]);
    elf.extend_from_slice(&note);
    elf.resize(usize::try_from(code_at).unwrap_or(0), 0);
    elf.extend_from_slice(code);
    elf
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(0)
}

fn note() -> Vec<u8> {
    let mut note = Vec::new();
    for word in [4u32, 4, NOTE_TYPE] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    note.extend_from_slice(b"Xen\0");
    note.extend_from_slice(&LOAD.to_le_bytes());
    note
}

fn program_header(elf: &mut Vec<u8>, kind: u32, flags: u32, fields: [u64; 6]) {
    elf.extend_from_slice(&kind.to_le_bytes());
    elf.extend_from_slice(&flags.to_le_bytes());
    for field in fields {
        elf.extend_from_slice(&field.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_holds_the_code_at_a_page() {
        let elf = pvh(&[0xF4, 0xEB, 0xFD], 16);
        assert_eq!(elf.len(), 4096 + 3);
        assert_eq!(&elf[4096..], &[0xF4, 0xEB, 0xFD]);
        assert_eq!(u64::from_le_bytes(elf[64 + 8..64 + 16].try_into().unwrap()), 4096);
        assert_eq!(u64::from_le_bytes(elf[64 + 40..64 + 48].try_into().unwrap()), 19);
    }
}
