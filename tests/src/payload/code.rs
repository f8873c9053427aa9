//! The payloads' machine code, 32-bit and flat, as PVH enters it: `%ebx` holds the
//! address of `hvm_start_info`. All begin at [`LOAD`](super::elf::LOAD) and share the routines of `COMMON`.
//!
//! No instruction is used that a KVM without hardware below it cannot emulate
//! (SSE, `cmpxchg16b`, `xsave`, `int3`, …). A payload that has no more to do powers off.

use core::arch::global_asm;

/// Puts assembly into this program as data and gives its bytes a name.
macro_rules! payload {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        pub(super) fn $name() -> &'static [u8] {
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
        global_asm!(
            ".pushsection .rodata.kubevmm_payloads, \"a\", @progbits",
            ".balign 16",
            ".code32",
            concat!("kubevmm_payload_", stringify!($name), ":"),
            "0:",
            "  movl $0x180000, %esp",
            "  movl %ebx, %ebp",
            $text,
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

payload!(
    /// Greets.
    greet,
    "movl $(0x100000 + 1f - 0b), %esi
     call 90f
     jmp 80f
     1: .asciz \"payload: hello\\n\"
     "
);

payload!(
    /// Greets and resets by port 0xCF9, for ever.
    reset_port,
    "movl $(0x100000 + 1f - 0b), %esi
     call 90f
     movl $0xCF9, %edx
     movb $2, %al
     outb %al, %dx
     movb $6, %al
     outb %al, %dx
     2: hlt
     jmp 2b
     1: .asciz \"payload: again\\n\"
     "
);

payload!(
    /// Greets and resets by the keyboard controller, for ever.
    reset_keyboard,
    "movl $(0x100000 + 1f - 0b), %esi
     call 90f
     movb $0xFE, %al
     outb %al, $0x64
     2: hlt
     jmp 2b
     1: .asciz \"payload: again\\n\"
     "
);

payload!(
    /// Faults with no way to handle it.
    triple_fault,
    "movl $0, 0x190000
     movl $0, 0x190004
     lidt 0x190000
     ud2
     "
);

payload!(
    /// Reports a panic by pvpanic.
    panic,
    "movl $0x505, %edx
     inb %dx, %al
     movzbl %al, %eax
     call 95f
     movl $0x505, %edx
     movb $1, %al
     outb %al, %dx
     2: hlt
     jmp 2b
     "
);

payload!(
    /// Stops with interrupts off and never comes back.
    halt,
    "movl $(0x100000 + 1f - 0b), %esi
     call 90f
     2: cli
     hlt
     jmp 2b
     1: .asciz \"payload: halts\\n\"
     "
);

payload!(
    /// Prints the magic number, the command line and the first module of `hvm_start_info`.
    start_info,
    "movl (%ebp), %eax
     call 95f
     movl 24(%ebp), %esi
     call 90f
     movb $10, %al
     outb %al, %dx
     cmpl $0, 12(%ebp)
     je 80f
     movl 16(%ebp), %esi
     movl (%esi), %esi
     call 90f
     "
);

payload!(
    /// Waits until the PM timer has moved by more than 1000 ticks, and says so.
    pm_timer,
    "movl $0x608, %edx
     inl %dx, %eax
     movl %eax, %ebx
     2: inl %dx, %eax
     subl %ebx, %eax
     andl $0xFFFFFF, %eax
     cmpl $1000, %eax
     jb 2b
     movl $(0x100000 + 1f - 0b), %esi
     call 90f
     jmp 80f
     1: .asciz \"payload: the timer runs\\n\"
     "
);

payload!(
    /// Sleeps with HLT until the local APIC's timer interrupts it; three times. The handler goes on
    /// without IRET, which KVM's emulator knows in real mode only.
    hlt_timer,
    "movl $(0x100000 + 5f - 0b), %eax
     lgdt (%eax)
     ljmpl $8, $(0x100000 + 2f - 0b)
     2: movw $16, %ax
     movw %ax, %ds
     movw %ax, %es
     movw %ax, %ss
     movl $(0x100000 + 7f - 0b), %eax
     movl $0x190200, %edi
     movw %ax, (%edi)
     movw $8, 2(%edi)
     movw $0x8E00, 4(%edi)
     shrl $16, %eax
     movw %ax, 6(%edi)
     movl $(0x100000 + 6f - 0b), %eax
     lidt (%eax)
     movl $0xFEE00000, %edi
     movl $0x1FF, 0xF0(%edi)
     movl $11, 0x3E0(%edi)
     movl $0x40, 0x320(%edi)
     movl $3, %ebx
     3: movl $100000, 0x380(%edi)
     sti
     hlt
     jmp 80f
     7: addl $12, %esp
     movl $(0x100000 + 8f - 0b), %esi
     call 90f
     movl $0xFEE00000, %edi
     movl $0, 0xB0(%edi)
     decl %ebx
     jnz 3b
     jmp 80f
     8: .asciz \"payload: tick\\n\"
     .balign 8
     4: .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
     5: .word 23
     .long 0x100000 + 4b - 0b
     6: .word 0x207
     .long 0x190000
     "
);

payload!(
    /// Touches addresses and ports where nothing is, and prints what it read.
    nowhere,
    "movl 0xA0000000, %eax
     call 95f
     movl $0x12345678, 0xA0000000
     movl 0xA0000000, %eax
     call 95f
     movw 0xA0000FFE, %ax
     movl $0x1234, %edx
     inl %dx, %eax
     call 95f
     movl $0x1234, %edx
     outl %eax, %dx
     "
);

payload!(
    /// For each device of bus 0 that is there, prints its identifiers as ports and as ECAM give them.
    pci_scan,
    "xorl %ebx, %ebx
     2: movl %ebx, %eax
     shll $11, %eax
     orl $0x80000000, %eax
     movl $0xCF8, %edx
     outl %eax, %dx
     movl $0xCFC, %edx
     inl %dx, %eax
     cmpl $-1, %eax
     je 3f
     call 95f
     movl %ebx, %eax
     shll $15, %eax
     movl 0xB0000000(%eax), %eax
     call 95f
     3: incl %ebx
     cmpl $32, %ebx
     jb 2b
     "
);

payload!(
    /// Echoes what is typed until a `q` comes.
    echo,
    "movl $(0x100000 + 1f - 0b), %esi
     call 90f
     2: movl $0x3FD, %edx
     inb %dx, %al
     testb $1, %al
     jz 2b
     movl $0x3F8, %edx
     inb %dx, %al
     outb %al, %dx
     cmpb $0x71, %al
     jne 2b
     jmp 80f
     1: .asciz \"payload: type\\n\"
     "
);

payload!(
    /// Counts, and keeps the number in 256 pages, each of which it looks at before it writes to it again. Prints the number when
    /// something is typed, and powers off when that is a `q`.
    count,
    "movl $(0x100000 + 1f - 0b), %esi
     call 90f
     xorl %ebx, %ebx
     2: movl $0x400000, %esi
     3: cmpl %ebx, (%esi)
     jne 5f
     leal 1(%ebx), %eax
     movl %eax, (%esi)
     addl $4096, %esi
     cmpl $0x500000, %esi
     jb 3b
     incl %ebx
     movl $0x3FD, %edx
     inb %dx, %al
     testb $1, %al
     jz 2b
     movl $0x3F8, %edx
     inb %dx, %al
     cmpb $0x71, %al
     je 80f
     movl %ebx, %eax
     call 95f
     jmp 2b
     5: movl $(0x100000 + 6f - 0b), %esi
     call 90f
     jmp 80f
     1: .asciz \"payload: counts\\n\"
     6: .asciz \"payload: memory is wrong\\n\"
     "
);

payload!(
    /// Fills each page of a GiB with a number of its own, then counts as the one above, without looking, in 256 pages.
    fills,
    "movl $0x1000000, %esi
     4: movl %esi, 8(%esi)
     addl $4096, %esi
     cmpl $0x41000000, %esi
     jb 4b
     movl $(0x100000 + 1f - 0b), %esi
     call 90f
     xorl %ebx, %ebx
     2: movl $0x400000, %esi
     3: movl %ebx, (%esi)
     addl $4096, %esi
     cmpl $0x500000, %esi
     jb 3b
     incl %ebx
     movl $0x3FD, %edx
     inb %dx, %al
     testb $1, %al
     jz 2b
     movl $0x3F8, %edx
     inb %dx, %al
     cmpb $0x71, %al
     je 80f
     jmp 2b
     1: .asciz \"payload: full\\n\"
     "
);

payload!(
    /// Prints the watchdog's reload register. Unless it says that the watchdog has fired, sets it to a tenth of a second
    /// and hangs.
    watchdog,
    "xorl %ebx, %ebx
     2: movl %ebx, %esi
     shll $11, %esi
     orl $0x80000000, %esi
     movl %esi, %eax
     movl $0xCF8, %edx
     outl %eax, %dx
     movl $0xCFC, %edx
     inl %dx, %eax
     cmpl $0x25AB8086, %eax
     je 3f
     incl %ebx
     cmpl $32, %ebx
     jb 2b
     jmp 80f
     3: leal 4(%esi), %eax
     movl $0xCF8, %edx
     outl %eax, %dx
     movl $0xCFC, %edx
     movl $2, %eax
     outl %eax, %dx
     leal 16(%esi), %eax
     movl $0xCF8, %edx
     outl %eax, %dx
     movl $0xCFC, %edx
     inl %dx, %eax
     andl $0xFFFFFFF0, %eax
     movl %eax, %ebp
     movl 12(%ebp), %ebx
     movl %ebx, %eax
     call 95f
     testl $0x200, %ebx
     jnz 80f
     leal 0x60(%esi), %eax
     movl $0xCF8, %edx
     outl %eax, %dx
     movl $0xCFC, %edx
     movw $3, %ax
     outw %ax, %dx
     movb $0x80, 12(%ebp)
     movb $0x86, 12(%ebp)
     movl $50, 0(%ebp)
     movb $0x80, 12(%ebp)
     movb $0x86, 12(%ebp)
     movl $50, 4(%ebp)
     leal 0x68(%esi), %eax
     movl $0xCF8, %edx
     outl %eax, %dx
     movl $0xCFC, %edx
     movb $2, %al
     outb %al, %dx
     4: hlt
     jmp 4b
     "
);

payload!(
    /// Counts the ticks of the local APIC's timer, one in 20 ms, in memory, and prints the count each time, until a `q`
    /// comes.
    counts,
    "movl $(0x100000 + 5f - 0b), %eax
     lgdt (%eax)
     ljmpl $8, $(0x100000 + 2f - 0b)
     2: movw $16, %ax
     movw %ax, %ds
     movw %ax, %es
     movw %ax, %ss
     movl $(0x100000 + 7f - 0b), %eax
     movl $0x190200, %edi
     movw %ax, (%edi)
     movw $8, 2(%edi)
     movw $0x8E00, 4(%edi)
     shrl $16, %eax
     movw %ax, 6(%edi)
     movl $(0x100000 + 6f - 0b), %eax
     lidt (%eax)
     movl $0xFEE00000, %edi
     movl $0x1FF, 0xF0(%edi)
     movl $11, 0x3E0(%edi)
     movl $0x20040, 0x320(%edi)
     movl $20000000, 0x380(%edi)
     3: sti
     hlt
     jmp 3b
     7: addl $12, %esp
     movl $0xFEE00000, %edi
     movl $0, 0xB0(%edi)
     incl 0x191000
     movl 0x191000, %eax
     call 95f
     movl $0x3FD, %edx
     inb %dx, %al
     testb $1, %al
     jz 3b
     movl $0x3F8, %edx
     inb %dx, %al
     cmpb $0x71, %al
     jne 3b
     jmp 80f
     .balign 8
     4: .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
     5: .word 23
     .long 0x100000 + 4b - 0b
     6: .word 0x207
     .long 0x190000
     "
);

payload!(
    /// At a `t`, writes the number of the round into each page of 64 MiB and prints it. At a `c`, prints it again if it is
    /// in all of them, else all ones. At a `g` prints the first word of the generation ID and
    /// the status of general-purpose events. At a `q` powers off.
    touches,
    "xorl %ebx, %ebx
     movl $(0x100000 + 1f - 0b), %esi
     call 90f
     2: movl $0x3FD, %edx
     inb %dx, %al
     testb $1, %al
     jz 2b
     movl $0x3F8, %edx
     inb %dx, %al
     movl $0x1000000, %esi
     cmpb $0x74, %al
     je 3f
     cmpb $0x63, %al
     je 5f
     cmpb $0x67, %al
     je 8f
     cmpb $0x71, %al
     jne 2b
     jmp 80f
     3: incl %ebx
     4: movl %ebx, (%esi)
     addl $4096, %esi
     cmpl $0x5000000, %esi
     jb 4b
     6: movl %ebx, %eax
     call 95f
     jmp 2b
     5: cmpl %ebx, (%esi)
     jne 7f
     addl $4096, %esi
     cmpl $0x5000000, %esi
     jb 5b
     jmp 6b
     7: movl $-1, %eax
     call 95f
     jmp 2b
     8: movl 0x9FD00, %eax
     call 95f
     movl $0x620, %edx
     inl %dx, %eax
     call 95f
     jmp 2b
     1: .asciz \"payload: touches\\n\"
     "
);
