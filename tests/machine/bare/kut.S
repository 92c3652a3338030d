# The cases of kvm-unit-tests' x86/debug.c, written anew; what each must show is in rows.toml.

.include "cases.inc"

.text

    # DR4 and DR5
    CASE dr4_alias
o_dr4_alias:
    DR 4, 0
    DR6_OR BS | B1
    mov rax, dr4
    mov rbx, dr6
    sub rax, rbx
    call print_value

    CASE bus_lock_kernel
o_bus_lock_kernel:
    call bus_lock
    mov rax, [rip + split]
    call print_value
    CASE bus_lock_user
    lea rax, [rip + o_bus_lock_user]
    call enter_user
    mov rax, [rip + split]
    call print_value

    CASE dr4_reserved
    RECOVER 2f
    mov rbx, cr4
    lea rax, [rbx + 8]
    mov cr4, rax
o_dr4_reserved:
    mov rax, dr4
2:  mov cr4, rbx

    CASE int3
    int3
o_int3:
    CASE hw_bp1
    DR_AT 2, o_hw_bp1
    DR 7, 0x420
o_hw_bp1:
    nop
    DISARM

    CASE hw_bp2
    DR_AT 2, o_hw_bp2
    DR6_OR BS | B1
    DR 7, 0x420
o_hw_bp2:
    nop
    DISARM

    CASE step_basic_kernel
    call step_basic
    CASE step_basic_user
    lea rax, [rip + step_basic_user]
    call enter_user

    CASE step_emulated_kernel
    call step_emulated
    CASE step_emulated_user
    lea rax, [rip + step_emulated_user]
    call enter_user

    CASE step_sti_kernel
    call step_sti
    CASE step_sti_user
    lea rax, [rip + step_sti_user]
    call enter_user

    CASE step_movss_kernel
    call step_movss
    CASE step_movss_user
    lea rax, [rip + step_movss_user]
    call enter_user

    CASE movss_icebp_kernel
    call movss_icebp
    CASE movss_icebp_user
    lea rax, [rip + movss_icebp_user]
    call enter_user

    CASE movss_gd
    mov ecx, ss
    mov rdx, [rip + control]
    DR 7, 0x2400
    SET_TF
    mov ss, ecx
o_movss_gd:
    mov dr6, rdx
    CLEAR_TF_IMAGE
    push rax
    popfq
    DISARM

    CASE hw_wp1
    DR_AT 1, value
    DR6_OR BS
    DR 7, 0x00d0040a
    mov qword ptr [rip + value], rax
o_hw_wp1:
    DISARM

    CASE hw_wp2
    DR_AT 1, value
    DR 7, 0x00d0040a
    mov qword ptr [rip + value], rax
o_hw_wp2:
    DISARM

    CASE icebp
    .byte 0xf1
o_icebp:
    END_OF_CASES

bus_lock:                               # a locked store over two cache lines; DEBUGCTL and AC are as they were
    xor eax, eax
    mov [rip + split], rax
    mov ecx, 1
    lock cmpxchg [rip + split], ecx
    ret
o_bus_lock_user:
    xor eax, eax
    mov [rip + split], rax
    mov ecx, 1
    lock cmpxchg [rip + split], ecx
    int 0x80

step_basic:
    SET_TF
    CLEAR_TF_IMAGE
o_step_basic_kernel:
    push rax
    popfq
    ret
step_basic_user:
    SET_TF
    CLEAR_TF_IMAGE
o_step_basic_user:
    push rax
    popfq
    int 0x80

.macro EMULATED label
    mov ecx, 0
    SET_TF
    CLEAR_TF_IMAGE
\label:
    push rax
    xor rax, rax
    cpuid
    mov edx, 0x3fd
    in al, dx
    popfq
.endm
step_emulated:
    push rbx
    EMULATED o_step_emulated_kernel
    pop rbx
    ret
step_emulated_user:
    EMULATED o_step_emulated_user
    int 0x80

.macro STI_SHADOW label
    SET_TF
    sti
\label:
    CLEAR_TF_IMAGE
    push rax
    popfq
.endm
step_sti:
    STI_SHADOW o_step_sti_kernel
    ret
step_sti_user:
    STI_SHADOW o_step_sti_user
    int 0x80

.macro MOVSS_SHADOW label
    mov ecx, ss
    SET_TF
    mov ss, ecx
    CLEAR_TF_IMAGE
\label:
    push rax
    popfq
.endm
step_movss:
    MOVSS_SHADOW o_step_movss_kernel
    ret
step_movss_user:
    MOVSS_SHADOW o_step_movss_user
    int 0x80

.macro MOVSS_ICEBP label
    mov ecx, ss
    SET_TF
    mov ss, ecx
    .byte 0xf1
\label:
    .byte 0xf1
    CLEAR_TF_IMAGE
    push rax
    popfq
.endm
movss_icebp:
    MOVSS_ICEBP o_movss_icebp_kernel
    ret
movss_icebp_user:
    MOVSS_ICEBP o_movss_icebp_user
    int 0x80

.data
.balign 8
value: .quad 0
.balign 64
.skip 62
split: .quad 0
