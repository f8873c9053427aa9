//! Payloads that write to their memory.

payload!(
    /// Counts, and keeps the number in 256 pages, each of which it looks at before it writes to it again. Prints the number when
    /// something is typed; when that is a `v`, the lower words of its clock's disruptions and generation instead. When it is a `w`, it
    /// writes to 1024 other pages before, which it never looks at. Powers off when it is a `q`.
    count,
    "movl $(0x100000 + 1f - 0b), %esi
     call 90f
     xorl %ebx, %ebx
     2:",
    counted!(or "5f"),
    typed!(or "2b"),
    "cmpb $0x71, %al
     je 80f
     cmpb $0x76, %al
     je 4f
     cmpb $0x77, %al
     jne 8f
     movl $0x800000, %esi
     7: movl %esi, (%esi)
     addl $4096, %esi
     cmpl $0xC00000, %esi
     jb 7b
     8: movl %ebx, %eax
     call 95f
     jmp 2b
     4: movl 0xFEFFB010, %eax
     call 95f
     movl 0xFEFFB068, %eax
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
    /// Fills each page of a GiB with a number of its own. A digit typed then is a rate, in units of 100 MiB a second, at which it
    /// goes on writing to 128 MiB of it, 64 pages at a time, by the clock of the ACPI timer; a `c` has it print how many times 64
    /// pages were written. Powers off when a `q` comes. A quarter of a MiB takes 1/400 of a second at 100 MiB a second, which is
    /// 8949 of the timer's ticks.
    fills,
    "movl $0x1000000, %esi
     4: movl %esi, 8(%esi)
     addl $4096, %esi
     cmpl $0x41000000, %esi
     jb 4b
     movl $(0x100000 + 1f - 0b), %esi
     call 90f
     xorl %ebx, %ebx
     xorl %ebp, %ebp
     movl $0x1000000, %esi
     2: movl $0x3FD, %edx
     inb %dx, %al
     testb $1, %al
     jnz 5f
     testl %ebp, %ebp
     jz 2b
     movl $0x608, %edx
     inl %dx, %eax
     subl 0x200000, %eax
     andl $0xFFFFFF, %eax
     cmpl %ebp, %eax
     jb 2b
     addl %ebp, 0x200000
     movl $8, %ecx
     3: incl %ebx
     movl %ebx, (%esi)
     movl %ebx, 0x1000(%esi)
     movl %ebx, 0x2000(%esi)
     movl %ebx, 0x3000(%esi)
     movl %ebx, 0x4000(%esi)
     movl %ebx, 0x5000(%esi)
     movl %ebx, 0x6000(%esi)
     movl %ebx, 0x7000(%esi)
     addl $0x8000, %esi
     decl %ecx
     jnz 3b
     incl 0x200004
     cmpl $0x9000000, %esi
     jb 2b
     movl $0x1000000, %esi
     jmp 2b
     5: movl $0x3F8, %edx
     inb %dx, %al
     cmpb $0x71, %al
     je 80f
     cmpb $0x63, %al
     je 6f
     xorl %ebp, %ebp
     movzbl %al, %ecx
     subl $0x30, %ecx
     jz 2b
     movl $8949, %eax
     xorl %edx, %edx
     divl %ecx
     movl %eax, %ebp
     movl $0x608, %edx
     inl %dx, %eax
     movl %eax, 0x200000
     jmp 2b
     6: movl 0x200004, %eax
     call 95f
     jmp 2b
     1: .asciz \"payload: full\\n\"
     "
);

payload!(
    /// At a `t`, writes the number of the round into each page of 64 MiB and prints it. At a `c`, prints it again if it is
    /// in all of them, else all ones. At a `g` prints the first word of the generation ID, the lower words of its clock's disruptions and
    /// generation, and the status of general-purpose events. At a `q` powers off.
    touches,
    "xorl %ebx, %ebx
     movl $(0x100000 + 1f - 0b), %esi
     call 90f
     2:",
    typed!(or "2b"),
    "movl $0x1000000, %esi
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
     movl 0xFEFFB010, %eax
     call 95f
     movl 0xFEFFB068, %eax
     call 95f
     movl $0x620, %edx
     inl %dx, %eax
     call 95f
     jmp 2b
     1: .asciz \"payload: touches\\n\"
     "
);
