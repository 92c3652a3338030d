# A boot sector that makes a PC what backends/emulated/bare/image.py describes, and starts a program there: for the other
# emulators that run the same case programs. `tests/machine/bare_disk.py` puts the program behind it and fills the parameters.

.intel_syntax noprefix
.code16
.globl _start
_start:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7000
    cld
    mov si, offset packet
    mov ah, 0x42                        # extended read; dl is still the disk
    int 0x13
    jc failed
    in al, 0x92                         # A20
    or al, 2
    out 0x92, al
    cli
    mov al, 0xff                        # no interrupts from outside
    out 0x21, al
    out 0xa1, al
    mov di, 0x1000                      # page tables: the first GiB, identity, for every level
    xor eax, eax
    mov cx, 0xc00
    rep stosd
    mov dword ptr [0x1000], 0x2007
    mov dword ptr [0x2000], 0x3007
    mov di, 0x3000
    mov eax, 0x87
1:  mov [di], eax
    add eax, 0x200000
    add di, 8
    cmp di, 0x4000
    jne 1b
    mov eax, 0x620                      # PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, 0x1000
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    mov si, offset table                # the GDT to 0x7000
    mov di, 0x7000
    mov cx, 12
    rep movsw
    lgdt [gdtr]
    mov eax, 0x80000011
    mov cr0, eax
    .byte 0xea                          # jmp 8:long_mode
    .word long_mode, 8
failed:
    mov al, '!'
    out 0xe9, al
    hlt

.code64
long_mode:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov edi, [base]
    mov esi, 0x10000
    movzx ecx, word ptr [sectors]
    shl ecx, 9
    rep movsb
    lidt [no_idt]
    mov esp, 0x1000000
    push 2
    popfq
    mov eax, [entry]
    jmp rax

.balign 8
table:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdtr:
    .word 23
    .long 0x7000
no_idt:
    .word 0
    .quad 0
packet:
    .byte 16, 0
sectors:
    .word 0
    .word 0, 0x1000                     # to 1000:0000
    .quad 1

    .org 0x1f0
base:
    .long 0
entry:
    .long 0
    .org 0x1fe
    .word 0xaa55
