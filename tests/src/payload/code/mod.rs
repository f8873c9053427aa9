//! The payloads' machine code, 32-bit and flat, as PVH enters it: `%ebx` holds the
//! address of `hvm_start_info`. All begin at [`LOAD`](super::elf::LOAD) and share the routines of `COMMON`.
//!
//! No instruction is used that a KVM without hardware below it cannot emulate
//! (SSE, `cmpxchg16b`, `xsave`, `int3`, …). A payload that has no more to do powers off.

/// Puts assembly into this program as data and gives its bytes a name.
macro_rules! payload {
    ($(#[$doc:meta])* $name:ident, $($text:expr),+ $(,)?) => {
        $(#[$doc])*
        pub(crate) fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = concat!("kubevmm_payload_", stringify!($name))]
                static START: u8;
                #[link_name = concat!("kubevmm_payload_", stringify!($name), "_end")]
                static END: u8;
            }
            let (start, end) = (&raw const START, &raw const END);
            let length = (end as usize).saturating_sub(start as usize);
            // SAFETY: the symbols bound the bytes that the assembler put into read-only data below.
            unsafe { core::slice::from_raw_parts(start, length) }
        }
        core::arch::global_asm!(
            ".pushsection .rodata.kubevmm_payloads, \"a\", @progbits",
            ".balign 16",
            ".code32",
            concat!("kubevmm_payload_", stringify!($name), ":"),
            "0:",
            "  movl $0x180000, %esp",
            "  movl %ebx, %ebp",
            $($text,)+
            // Powers off by PM1a_CNT: SLP_TYP of \_S5 is 0, SLP_EN is bit 13 (ACPI 6.5 §4.8.3.2.1).
            "80: movl $0x604, %edx",
            "  movw $0x2000, %ax",
            "  outw %ax, %dx",
            "  hlt",
            "  jmp 80b",
            // Prints the string at %esi.
            "90: movl $0x3F8, %edx",
            "91: movb (%esi), %al",
            "  testb %al, %al",
            "  jz 92f",
            "  outb %al, %dx",
            "  incl %esi",
            "  jmp 91b",
            "92: ret",
            // Prints %eax in hexadecimal and a line feed.
            "95: movl %eax, %edi",
            "  movl $8, %ecx",
            "  movl $0x3F8, %edx",
            "96: roll $4, %edi",
            "  movl %edi, %eax",
            "  andb $15, %al",
            "  addb $0x30, %al",
            "  cmpb $0x39, %al",
            "  jbe 97f",
            "  addb $7, %al",
            "97: outb %al, %dx",
            "  decl %ecx",
            "  jnz 96b",
            "  movb $10, %al",
            "  outb %al, %dx",
            "  ret",
            concat!("kubevmm_payload_", stringify!($name), "_end:"),
            ".code64",
            ".popsection",
            options(att_syntax)
        );
    };
}

/// Reads the identifiers of the devices of bus 0 into %eax, that of device %ebx; what follows goes back to label 2 for the next.
macro_rules! identifiers {
    () => {
        "xorl %ebx, %ebx
         2: movl %ebx, %eax
         shll $11, %eax
         orl $0x80000000, %eax
         movl $0xCF8, %edx
         outl %eax, %dx
         movl $0xCFC, %edx
         inl %dx, %eax"
    };
}

/// Takes what is typed into %al; if that is nothing, goes on at the label.
macro_rules! typed {
    (or $label:literal) => {
        concat!(
            "movl $0x3FD, %edx
             inb %dx, %al
             testb $1, %al
             jz ",
            $label,
            "
             movl $0x3F8, %edx
             inb %dx, %al"
        )
    };
}

/// Counts %ebx, which is to be in 256 pages as yet, and keeps the number there; if it is not, goes on at the label.
macro_rules! counted {
    (or $label:literal) => {
        concat!(
            "movl $0x400000, %esi
             98: cmpl %ebx, (%esi)
             jne ",
            $label,
            "
             leal 1(%ebx), %eax
             movl %eax, (%esi)
             addl $4096, %esi
             cmpl $0x500000, %esi
             jb 98b
             incl %ebx"
        )
    };
}

mod basic;
mod disk;
mod memory;
mod timer;

pub(crate) use basic::{
    echo, greet, halt, nowhere, panic, pci_scan, reset_keyboard, reset_port, start_info, triple_fault,
};
pub(crate) use disk::writes;
pub(crate) use memory::{count, fills, touches};
pub(crate) use timer::{counts, hlt_timer, pm_timer, watchdog};
