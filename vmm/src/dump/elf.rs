//! Headers of a 64-bit ELF core file (System V ABI, "Object Files"; elf(5)).

use std::ops::Range;

const EHDR: u64 = 64;
const PHDR: u64 = 56;
/// Pages of memory lie at multiples of their size in the file, too, so that those of zeroes can be holes.
pub(super) const PAGE: u64 = 4096;

const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

/// Where everything lies in the file.
#[derive(Debug)]
pub(super) struct Layout {
    /// Guest-physical addresses, with where they begin in the file.
    segments: Vec<(Range<u64>, u64)>,
    notes: u64,
}

impl Layout {
    /// The layout of a file with memory of these addresses, and so many bytes of notes.
    pub(super) fn new(ranges: Vec<Range<u64>>, notes: usize) -> Self {
        let notes = u64::try_from(notes).unwrap_or(u64::MAX);
        let count = u64::try_from(ranges.len()).unwrap_or(u64::MAX);
        let mut at = (EHDR + PHDR * (count + 1) + notes).next_multiple_of(PAGE);
        let segments = ranges
            .into_iter()
            .map(|range| {
                let start = at;
                at += (range.end - range.start).next_multiple_of(PAGE);
                (range, start)
            })
            .collect();
        Self { segments, notes }
    }

    /// Where the notes begin.
    pub(super) fn notes_offset(&self) -> u64 {
        EHDR + PHDR * (u64::try_from(self.segments.len()).unwrap_or(u64::MAX) + 1)
    }

    /// Where the memory at a guest-physical address lies in the file, if it does.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        let (range, at) = self.segments.iter().find(|(range, _)| range.contains(&address))?;
        Some(at + (address - range.start))
    }

    /// How long the file is.
    pub(super) fn file_size(&self) -> u64 {
        let end = |(range, at): &(Range<u64>, u64)| at + (range.end - range.start);
        self.segments.last().map_or(self.notes_offset() + self.notes, end)
    }

    /// The ELF header and the program headers.
    pub(super) fn headers(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(*b"\x7fELF");
        // 64 bits, little-endian, version 1, System V.
        bytes.extend([2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(ET_CORE.to_le_bytes());
        bytes.extend(EM_X86_64.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        // No entry; program headers behind this one; no sections.
        for word in [0, EHDR, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(0u32.to_le_bytes());
        let count = u16::try_from(self.segments.len() + 1).unwrap_or(u16::MAX);
        for half in [64, 56, count, 64, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        bytes.extend(program(PT_NOTE, 0, self.notes_offset(), 0, self.notes, 0));
        for (range, at) in &self.segments {
            bytes.extend(program(PT_LOAD, 7, *at, range.start, range.end - range.start, PAGE));
        }
        bytes
    }
}

/// A program header. Virtual addresses are the guest's physical ones, by which debuggers that know of no paging find memory.
fn program(kind: u32, flags: u32, offset: u64, address: u64, size: u64, align: u64) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), flags.to_le_bytes()].concat();
    for word in [offset, address, address, size, size, align] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}
