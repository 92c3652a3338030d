# Linux's own selftests of the debug registers, as far as no kernel is in them: kvm/x86/debug_regs.c and x86/mov_ss_trap.c,
# written anew. What each case must show is in rows.toml.

.include "cases.inc"

.text
.macro EXECUTE slot
    CASE execute_\slot
    mov dword ptr [rip + rf_mask], 15
    DR_AT \slot, o_execute_\slot
    DR 7, 0x400 | (2 << (2 * \slot))
o_execute_\slot:
    nop
    DISARM
.endm
.macro WRITE slot
    CASE write_\slot
    DR_AT \slot, target
    DR 7, 0x400 | (2 << (2 * \slot)) | (0xd << (16 + 4 * \slot))
    mov [rip + target], rax
o_write_\slot:
    DISARM
.endm
.irp slot, 0, 1, 2, 3
    EXECUTE \slot
.endr
.irp slot, 0, 1, 2, 3
    WRITE \slot
.endr

    CASE single_steps
    pushfq
    or qword ptr [rsp], TF
    popfq
o_single_steps:
    sti
    xor eax, eax
    cpuid
    mov ecx, 0xc0000081
    wrmsr
    cli
    push 2
    popfq

    CASE general_detect
    DR 7, 0x2400
o_general_detect:
    mov rax, dr0
    DISARM

.macro AFTER_MOV_SS name, code:vararg
    CASE movss_\name
    mov word ptr [rip + target], ss
    DR_AT 0, target
    RECOVER 9f
    DR 7, 0x00070402
    mov rcx, 0x100000000
    mov ss, [rip + target]
o_movss_\name:
    \code
9:  DISARM
.endm
    AFTER_MOV_SS int3, int3
    AFTER_MOV_SS int_3, .byte 0xcd, 3
    AFTER_MOV_SS prefixed_int3, .byte 0x2e, 0x2e, 0xcc
    AFTER_MOV_SS int_4, .byte 0xcd, 4
    AFTER_MOV_SS icebp, .byte 0xf1
    AFTER_MOV_SS int_1, .byte 0xcd, 1
    AFTER_MOV_SS undefined, ud2
    AFTER_MOV_SS page_fault, mov al, byte ptr [rip + o_movss_page_fault + 0x40000000]
    AFTER_MOV_SS general_protection, mov dr6, rcx

    CASE movss_too_long
    mov word ptr [rip + target], ss
    DR_AT 0, target
    RECOVER 9f
    DR 7, 0x00070402
    mov ss, [rip + target]
o_movss_too_long:
    .fill 14, 1, 0x2e
    .byte 0xcd, 3
9:  DISARM

    CASE movss_cli_in_user_mode
    mov qword ptr [rip + user_flags], 2
    mov word ptr [rip + target], USER_DATA
    DR_AT 0, target
    DR 7, 0x00070402
    lea rax, [rip + user_cli]
    call enter_user

    CASE movss_int80_in_user_mode
    mov word ptr [rip + target], USER_DATA
    DR_AT 0, target
    DR 7, 0x00070402
    lea rax, [rip + user_int80]
    call enter_user
    DISARM

    CASE movss_nop_in_user_mode
    mov word ptr [rip + target], USER_DATA
    DR_AT 0, target
    DR_AT 1, o_movss_nop_in_user_mode - 1
    DR 7, 0x0007040a
    lea rax, [rip + user_nop]
    call enter_user
    END_OF_CASES

user_cli:
    mov ss, [rip + target]
o_movss_cli_in_user_mode:
    cli
    int 0x80
user_int80:
    mov ss, [rip + target]
    int 0x80
user_nop:
    mov ss, [rip + target]
    nop
o_movss_nop_in_user_mode:
    int 0x80
.set o_movss_int80_in_user_mode, leave_user

.data
.balign 8
target: .quad 0
