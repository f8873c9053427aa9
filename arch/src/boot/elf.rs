//! ELF kernels: program headers checked as a whole, then each segment read into its place.

use std::fs::File;
use std::ops::Range;

use linux_loader::elf::{
    EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, Elf64_Ehdr, Elf64_Phdr, PT_LOAD, PT_NOTE,
};
use vm_memory::ByteValued;

use super::file::{length, load_at, read_at};
use super::{BootError, Entry, LoadedKernel};
use crate::GuestRam;
use crate::layout::{CMDLINE_ROOM, KERNEL_MIN, RamLayout};

const MAGIC: [u8; 4] = *b"\x7fELF";
const EM_X86_64: u16 = 62;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
/// Linux has about five program headers; a file with many more is damaged.
const MAX_PROGRAM_HEADERS: u16 = 64;
/// Linux's notes take a few hundred bytes; a longer segment is not searched.
const MAX_NOTES: u64 = 64 << 10;
/// `XEN_ELFNOTE_PHYS32_ENTRY` (xen/include/public/elfnote.h): the PVH entry.
const PHYS32_ENTRY: u32 = 18;
const HEADER: &str = "the kernel's ELF header";

/// A `PT_LOAD` segment whose ranges have been checked against the file.
struct Segment {
    memory: Range<u64>,
    offset: u64,
    file_size: u64,
}

pub(super) fn is_elf(file: &File) -> Result<bool, BootError> {
    let mut magic = [0; 4];
    Ok(read_at(file, &mut magic, 0, HEADER)? && magic == MAGIC)
}

pub(super) fn load(mem: &GuestRam, file: &File, ram: &RamLayout) -> Result<LoadedKernel, BootError> {
    let file_length = length(file, HEADER)?;
    let header = read_header(file, file_length)?;
    let program = read_program_headers(file, &header, file_length)?;
    let segments = segments(&program, file_length)?;
    let highest = segments.last().map_or(0, |last| last.memory.end);
    if highest > ram.low_end() {
        return Err(BootError::KernelTooLarge { needed: highest, available: ram.low_end() });
    }
    let addr = pvh_entry(file, &program, file_length)?.ok_or(BootError::NoPvhNote)?;
    if !segments.iter().any(|segment| segment.memory.contains(&addr.into())) {
        return Err(BootError::CorruptElf { reason: "its PVH entry lies in no segment" });
    }
    for segment in segments.iter().filter(|segment| segment.file_size > 0) {
        load_at(mem, segment.memory.start, file, segment.offset, segment.file_size, "a kernel segment")?;
    }
    Ok(LoadedKernel {
        entry: Entry::Pvh { addr },
        highest,
        initrd_limit: ram.low_end(),
        cmdline_limit: usize::try_from(CMDLINE_ROOM - 1).unwrap_or(usize::MAX),
    })
}

fn read_header(file: &File, file_length: u64) -> Result<Elf64_Ehdr, BootError> {
    let mut header = Elf64_Ehdr::default();
    if !read_at(file, header.as_mut_slice(), 0, HEADER)? {
        let needed = size_of::<Elf64_Ehdr>() as u64;
        return Err(BootError::Truncated { what: "its ELF header", needed, length: file_length });
    }
    let ident = |index: usize| header.e_ident.get(index).copied();
    if ident(EI_CLASS) != Some(ELFCLASS64) {
        return Err(BootError::WrongElf { reason: "it is not a 64-bit file" });
    }
    if ident(EI_DATA) != Some(ELFDATA2LSB) {
        return Err(BootError::WrongElf { reason: "it is big-endian" });
    }
    if header.e_machine != EM_X86_64 {
        return Err(BootError::WrongElf { reason: "it is for another processor than x86-64" });
    }
    if !matches!(header.e_type, ET_EXEC | ET_DYN) {
        return Err(BootError::WrongElf {
            reason: "it is not an executable (perhaps an object file or a core dump)",
        });
    }
    Ok(header)
}

fn read_program_headers(
    file: &File,
    header: &Elf64_Ehdr,
    file_length: u64,
) -> Result<Vec<Elf64_Phdr>, BootError> {
    if usize::from(header.e_phentsize) != size_of::<Elf64_Phdr>() {
        return Err(BootError::CorruptElf { reason: "its program headers have a wrong size" });
    }
    if header.e_phnum == 0 || header.e_phnum > MAX_PROGRAM_HEADERS {
        return Err(BootError::CorruptElf { reason: "its number of program headers makes no sense" });
    }
    let mut program = Vec::with_capacity(header.e_phnum.into());
    let mut offset = header.e_phoff;
    for _ in 0..header.e_phnum {
        let mut entry = Elf64_Phdr::default();
        let end = offset.saturating_add(size_of::<Elf64_Phdr>() as u64);
        if end > file_length || !read_at(file, entry.as_mut_slice(), offset, HEADER)? {
            let what = "its table of program headers";
            return Err(BootError::Truncated { what, needed: end, length: file_length });
        }
        program.push(entry);
        offset = end;
    }
    Ok(program)
}

/// The loadable segments in ascending order, each inside the file and none over another.
fn segments(program: &[Elf64_Phdr], file_length: u64) -> Result<Vec<Segment>, BootError> {
    let loadable = program.iter().filter(|entry| entry.p_type == PT_LOAD && entry.p_memsz > 0);
    let mut segments = loadable.map(|entry| segment(entry, file_length)).collect::<Result<Vec<_>, _>>()?;
    if segments.is_empty() {
        return Err(BootError::CorruptElf { reason: "it has nothing to load" });
    }
    segments.sort_by_key(|segment| segment.memory.start);
    for (one, next) in segments.iter().zip(segments.iter().skip(1)) {
        if one.memory.end > next.memory.start {
            return Err(BootError::OverlappingSegments {
                first: one.memory.start,
                second: next.memory.start,
            });
        }
    }
    Ok(segments)
}

fn segment(entry: &Elf64_Phdr, file_length: u64) -> Result<Segment, BootError> {
    if entry.p_filesz > entry.p_memsz {
        return Err(BootError::CorruptElf { reason: "a segment is larger in the file than in memory" });
    }
    let file_end = entry.p_offset.saturating_add(entry.p_filesz);
    if file_end > file_length {
        return Err(BootError::Truncated { what: "a segment", needed: file_end, length: file_length });
    }
    if entry.p_paddr < KERNEL_MIN {
        return Err(BootError::TooLow { start: entry.p_paddr });
    }
    let end = entry.p_paddr.checked_add(entry.p_memsz);
    let end = end.ok_or(BootError::CorruptElf { reason: "a segment reaches beyond all addresses" })?;
    Ok(Segment { memory: entry.p_paddr..end, offset: entry.p_offset, file_size: entry.p_filesz })
}

/// Looks for the PVH entry in all note segments.
fn pvh_entry(file: &File, program: &[Elf64_Phdr], file_length: u64) -> Result<Option<u32>, BootError> {
    for entry in program.iter().filter(|entry| entry.p_type == PT_NOTE) {
        let end = entry.p_offset.saturating_add(entry.p_filesz);
        if end > file_length {
            return Err(BootError::Truncated { what: "its notes", needed: end, length: file_length });
        }
        if entry.p_filesz > MAX_NOTES {
            continue;
        }
        let mut notes = vec![0; usize::try_from(entry.p_filesz).unwrap_or(0)];
        if read_at(file, &mut notes, entry.p_offset, "the kernel's ELF notes")?
            && let Some(addr) = find_pvh_note(&notes)
        {
            return Ok(Some(addr));
        }
    }
    Ok(None)
}

/// Walks a note segment: `namesz`, `descsz`, `type`, then name and descriptor, each padded to 4 bytes.
fn find_pvh_note(mut notes: &[u8]) -> Option<u32> {
    loop {
        let (name_size, rest) = split_u32(notes)?;
        let (desc_size, rest) = split_u32(rest)?;
        let (kind, rest) = split_u32(rest)?;
        let name = rest.get(..name_size as usize)?;
        let rest = rest.get(padded(name_size)?..)?;
        let desc = rest.get(..desc_size as usize)?;
        if kind == PHYS32_ENTRY && name == b"Xen\0" {
            return split_u32(desc).map(|(addr, _)| addr);
        }
        notes = rest.get(padded(desc_size)?..)?;
    }
}

fn padded(size: u32) -> Option<usize> {
    (size as usize).checked_next_multiple_of(4)
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(head, tail)| (u32::from_le_bytes(*head), tail))
}
