# Programs whose #DB handlers never get on, and one that steps from branch to branch. The Makefile builds one of each.
#   STUCK     an execute slot whose handler returns without RF
#   GUARDED   a handler that sets DR7.GD again, and so faults on its own MOV
#   NESTED    a handler that writes what is watched
#   FRAME     a watched stack of the interrupt stack table: the frame of #DB hits its own slot, without end
#   BRANCHES  DEBUGCTL.BTF with TF: a trap at each branch taken only

.intel_syntax noprefix
.text
.globl _start
_start:
    lea rsp, [rip + stack_end]
    lea rax, [rip + handler]
    mov [rip + idt + 16], ax
    mov word ptr [rip + idt + 18], 8
    mov word ptr [rip + idt + 20], 0x8e00
    shr rax, 16
    mov [rip + idt + 22], ax
    lea rax, [rip + idt]
    mov [rip + idtr + 2], rax
    lidt [rip + idtr]
#if defined STUCK
    lea rax, [rip + place]
    mov dr0, rax
    mov eax, 0x402
    mov dr7, rax
#elif defined GUARDED
    mov eax, 0x2400
    mov dr7, rax
    mov rax, dr0
#elif defined NESTED
    lea rax, [rip + watched]
    mov dr0, rax
    mov eax, 0xd0402
    mov dr7, rax
    mov dword ptr [rip + watched], eax
#elif defined FRAME
    lea rax, [rip + gdt]
    mov [rip + gdtr + 2], rax
    lgdt [rip + gdtr]
    lea rax, [rip + tss]
    mov [rip + gdt + 26], ax
    shr rax, 16
    mov [rip + gdt + 28], al
    mov [rip + gdt + 31], ah
    lea rax, [rip + ist_end]
    mov [rip + tss + 36], rax
    mov byte ptr [rip + idt + 20], 1
    mov eax, 24
    ltr ax
    lea rax, [rip + ist_end - 8]
    mov dr0, rax
    mov eax, 0x90402
    mov dr7, rax
    mov [rip + ist_end - 8], rax
#elif defined BRANCHES
    mov ecx, 0x1d9
    mov eax, 2
    xor edx, edx
    wrmsr
    pushfq
    or qword ptr [rsp], 0x100
    popfq
    nop
    nop
    jmp place
    nop
#endif
.globl place
place:
    nop
    push 2
    popfq
    mov al, 0
    out 0xf4, al

.globl handler
handler:
#if defined GUARDED
    mov eax, 0x2400
    mov dr7, rax
#elif defined NESTED
    mov dword ptr [rip + watched], eax
#elif defined BRANCHES
    and qword ptr [rsp + 16], ~0x100
#endif
    iretq

.data
idtr:
    .word 31
    .quad 0
gdtr:
    .word 39
    .quad 0
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x0000890000000067, 0
.bss
.balign 16
tss: .skip 0x70
ist: .skip 256
ist_end:
.balign 16
idt: .skip 32
.globl watched
watched: .skip 8
.balign 4096
stack: .skip 0x40000
stack_end:
