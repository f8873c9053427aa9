//! A payload with a driver for virtio-blk.

payload!(
    /// Counts as `count` does, and before it counts on writes the number into the sector of its disk that the number's last ten
    /// bits name; it waits until that is done. Prints the number when something is typed, and powers off when that is a `q`.
    ///
    /// The disk is the only one of the machine. Its window is moved to where 32-bit code can reach it.
    writes,
    identifiers!(),
    "cmpl $0x10421AF4, %eax
     je 3f
     incl %ebx
     cmpl $32, %ebx
     jb 2b
     jmp 14f
     3: shll $11, %ebx
     orl $0x80000000, %ebx
     movl $0x04, %ecx
     xorl %eax, %eax
     call 20f
     movl $0x10, %ecx
     movl $0xD0000000, %eax
     call 20f
     movl $0x14, %ecx
     xorl %eax, %eax
     call 20f
     movl $0x04, %ecx
     movl $0x06, %eax
     call 20f
     movl $0xD0000000, %edi
     movb $0, 0x14(%edi)
     movb $1, 0x14(%edi)
     movb $3, 0x14(%edi)
     movl $0, 0x08(%edi)
     movl $0, 0x0C(%edi)
     movl $1, 0x08(%edi)
     movl $1, 0x0C(%edi)
     movb $0x0B, 0x14(%edi)
     movw $0, 0x16(%edi)
     movw $4, 0x18(%edi)
     movw $0xFFFF, 0x1A(%edi)
     movl $0x200000, 0x20(%edi)
     movl $0, 0x24(%edi)
     movl $0x201000, 0x28(%edi)
     movl $0, 0x2C(%edi)
     movl $0x202000, 0x30(%edi)
     movl $0, 0x34(%edi)
     movw $1, 0x1C(%edi)
     movb $0x0F, 0x14(%edi)
     movl $0x203000, 0x200000
     movl $16, 0x200008
     movl $0x00010001, 0x20000C
     movl $0x204000, 0x200010
     movl $512, 0x200018
     movl $0x00020001, 0x20001C
     movl $0x203010, 0x200020
     movl $1, 0x200028
     movl $2, 0x20002C
     movl $1, 0x203000
     movw $1, 0x201000
     movl $(0x100000 + 1f - 0b), %esi
     call 90f
     xorl %ebx, %ebx
     4: movl %ebx, 0x204000
     movl %ebx, %eax
     andl $1023, %eax
     movl %eax, 0x203008
     movb $0xFF, 0x203010
     xorl %ecx, %ecx
     movw 0x201002, %cx
     movl %ecx, %eax
     andl $3, %eax
     movw $0, 0x201004(,%eax,2)
     incl %ecx
     movw %cx, 0x201002
     movl $0xD0000000, %edi
     movw $0, 0x3000(%edi)
     5: cmpw %cx, 0x202002
     jne 5b
     cmpb $0, 0x203010
     jne 14f
",
    counted!(or "15f"),
    typed!(or "4b"),
    "cmpb $0x71, %al
     je 80f
     movl %ebx, %eax
     call 95f
     jmp 4b
     20: pushl %eax
     leal (%ebx,%ecx), %eax
     movl $0xCF8, %edx
     outl %eax, %dx
     popl %eax
     movl $0xCFC, %edx
     outl %eax, %dx
     ret
     14: movl $(0x100000 + 17f - 0b), %esi
     call 90f
     jmp 80f
     15: movl $(0x100000 + 18f - 0b), %esi
     call 90f
     jmp 80f
     1: .asciz \"payload: writes\\n\"
     17: .asciz \"payload: the disk is wrong\\n\"
     18: .asciz \"payload: memory is wrong\\n\"
     "
);
