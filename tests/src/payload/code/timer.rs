//! Payloads that live by a timer.

/// Loads tables of segments and interrupts, of which vector 0x40 leads to label 7, and turns the local APIC on, its timer by the bus's
/// clock; %edi is its address then. Needs `tables!` at the end.
macro_rules! interrupts {
    () => {
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
         movl $11, 0x3E0(%edi)"
    };
}

/// What `interrupts!` loads.
macro_rules! tables {
    () => {
        ".balign 8
         4: .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
         5: .word 23
         .long 0x100000 + 4b - 0b
         6: .word 0x207
         .long 0x190000"
    };
}

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
    interrupts!(),
    "movl $0x40, 0x320(%edi)
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
     ",
    tables!(),
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
    interrupts!(),
    "movl $0x20040, 0x320(%edi)
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
     ",
    tables!(),
);
