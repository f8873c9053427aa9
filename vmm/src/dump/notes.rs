//! Notes of a core file: what the processors were at.

use super::registers::{Registers, Segment};

const NT_PRSTATUS: u32 = 1;
/// Version of QEMU's own note.
const QEMU_VERSION: u32 = 1;
/// Bytes of QEMU's own note.
const QEMU_SIZE: u32 = 440;

/// A note with its header, padded as the ABI wants it.
pub(super) fn note(name: &str, kind: u32, contents: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = [length(name.len() + 1), length(contents.len()), kind.to_le_bytes()].concat();
    bytes.extend(name.bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(contents);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The general registers of processor `number`, as Linux has those of a thread (`struct elf_prstatus`).
pub(super) fn status(cpu: &Registers, number: u32) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    bytes.extend(number.to_le_bytes());
    // Parent, group, session, times.
    bytes.resize(112, 0);
    let regs = &cpu.general;
    let words = [
        regs.r15,
        regs.r14,
        regs.r13,
        regs.r12,
        regs.rbp,
        regs.rbx,
        regs.r11,
        regs.r10,
        regs.r9,
        regs.r8,
        regs.rax,
        regs.rcx,
        regs.rdx,
        regs.rsi,
        regs.rdi,
        // The number of a system call, of which nothing is known.
        u64::MAX,
        regs.rip,
        cpu.cs.selector.into(),
        regs.rflags,
        regs.rsp,
        cpu.ss.selector.into(),
        cpu.fs.base,
        cpu.gs.base,
        cpu.ds.selector.into(),
        cpu.es.selector.into(),
        cpu.fs.selector.into(),
        cpu.gs.selector.into(),
    ];
    words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    // Whether floating point registers follow.
    bytes.resize(336, 0);
    note("CORE", NT_PRSTATUS, &bytes)
}

/// What a debugger of kernels needs besides, in QEMU's form (docs/devel: "QEMU" note of dump-guest-memory): control registers
/// and tables, by which `crash` finds where the kernel was put.
pub(super) fn qemu(cpu: &Registers) -> Vec<u8> {
    let regs = &cpu.general;
    let mut bytes = [QEMU_VERSION.to_le_bytes(), QEMU_SIZE.to_le_bytes()].concat();
    let words = [
        regs.rax,
        regs.rbx,
        regs.rcx,
        regs.rdx,
        regs.rsi,
        regs.rdi,
        regs.rsp,
        regs.rbp,
        regs.r8,
        regs.r9,
        regs.r10,
        regs.r11,
        regs.r12,
        regs.r13,
        regs.r14,
        regs.r15,
        regs.rip,
        regs.rflags,
    ];
    words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    for part in [cpu.cs, cpu.ds, cpu.es, cpu.fs, cpu.gs, cpu.ss, cpu.ldt, cpu.tr, cpu.gdt, cpu.idt] {
        bytes.extend(segment(part));
    }
    cpu.control.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes.extend(cpu.kernel_gs_base.to_le_bytes());
    note("QEMU", 0, &bytes)
}

fn segment(segment: Segment) -> Vec<u8> {
    let Segment { selector, limit, flags, base } = segment;
    let mut bytes = Vec::with_capacity(24);
    for word in [selector.into(), limit, flags, 0] {
        bytes.extend(u32::to_le_bytes(word));
    }
    bytes.extend(base.to_le_bytes());
    bytes
}
