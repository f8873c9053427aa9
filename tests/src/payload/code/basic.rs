//! Payloads that do one thing and end.

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
    identifiers!(),
    "cmpl $-1, %eax
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
     2:",
    typed!(or "2b"),
    "outb %al, %dx
     cmpb $0x71, %al
     jne 2b
     jmp 80f
     1: .asciz \"payload: type\\n\"
     "
);
