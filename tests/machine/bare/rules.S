# What happens between two instructions, and inside one that has many accesses; what each case must show is in rows.toml.

.include "cases.inc"

.set W1, 0x1
.set W2, 0x5
.set W4, 0xd
.set W8, 0x9
.set RW1, 0x3
.set RW4, 0xf
.set RW8, 0xb
.set NOTHING_THERE, 0x40000000

.text
.macro WATCH slot, label, nibble        # and nothing else
    DR_AT \slot, \label
    DR 7, 0x400 | (2 << (2 * \slot)) | (\nibble << (16 + 4 * \slot))
.endm

    CASE step_and_data                  # one #DB for both
    WATCH 0, target, W4
    SET_TF
    mov dword ptr [rip + target], eax
o_step_and_data:
    CLEAR_TF_IMAGE
    push rax
    popfq
    DISARM

    CASE step_then_execute              # a trap, and then a fault of its own
    DR_AT 2, o_step_then_execute
    DR 7, 0x420
    SET_TF
    nop
o_step_then_execute:
    CLEAR_TF_IMAGE
    push rax
    popfq
    DISARM

    CASE data_then_execute              # likewise
    DR_AT 2, o_data_then_execute
    DR_AT 0, target
    DR 7, 0x400 | 0x22 | W4 << 16
    mov dword ptr [rip + target], eax
o_data_then_execute:
    nop
    DISARM

    CASE rf_of_a_fault                  # RF is 1 in the frame of a fault, 0 in that of an execute #DB
    RECOVER 1f
    DR_AT 2, o_rf_of_a_fault
    DR 7, 0x420
o_rf_of_a_fault:
    ud2
1:  DISARM

    CASE rf_of_general_detect
    DR 7, 0x2400
o_rf_of_general_detect:
    mov rax, dr0
    DISARM

    CASE rmw
    WATCH 0, target, W4
    add dword ptr [rip + target], 1
o_rmw:
    DISARM

    CASE cmpxchg_that_fails             # writes back what it found
    mov dword ptr [rip + target], 5
    WATCH 0, target, W4
    mov eax, 6
    lock cmpxchg dword ptr [rip + target], ecx
o_cmpxchg_that_fails:
    DISARM

    CASE bit_test_beyond                # bit 65 of a qword operand is in the next qword
    WATCH 0, target+8, RW8
    mov eax, 65
    bt qword ptr [rip + target], rax
o_bit_test_beyond:
    DISARM

    CASE xmm_over_its_middle
    WATCH 0, block+6, W2
    movups xmmword ptr [rip + block], xmm0
o_xmm_over_its_middle:
    DISARM

    CASE store_across_pages
    WATCH 0, page_end, W1
    mov qword ptr [rip + page_end - 5], rax
o_store_across_pages:
    DISARM

    CASE misaligned_address_is_masked
    DR_AT 0, target + 1
    DR 7, 0x402 | W4 << 16
    mov byte ptr [rip + target], al
o_misaligned_address_is_masked:
    mov byte ptr [rip + target + 4], al
    DISARM

    CASE several_slots
    DR_AT 0, target
    DR_AT 1, target + 2
    DR_AT 3, target
    DR 7, 0x400 | 0x8a | W1 << 16 | W2 << 20 | RW4 << 28
    mov dword ptr [rip + target], eax
o_several_slots:
    DISARM

    CASE call_pushes
    lea rax, [rsp - 8]
    mov dr0, rax
    DR 7, 0x402 | W8 << 16
    call o_call_pushes
    DISARM

    CASE ret_pops                       # from a multiple of 16, so that the frame of #DB lies below
    mov rcx, rsp
    and rsp, -16
    lea rbx, [rip + o_ret_pops]
    push rbx
    push rbx
    mov dr0, rsp
    DR 7, 0x402 | RW8 << 16
    ret
o_ret_pops:
    mov rsp, rcx
    DISARM

    CASE push_of_memory                 # one read, one write
    lea rax, [rsp - 8]
    mov dr0, rax
    DR_AT 1, target
    DR 7, 0x40a | W8 << 16 | RW4 << 20
    push qword ptr [rip + target]
o_push_of_memory:
    DISARM
    pop rax

    CASE faulting_keeps_registers
    RECOVER 1f
    mov esi, NOTHING_THERE
    lea rdi, [rip + target]
    mov ecx, 3
o_faulting_keeps_registers:
    rep movsb
1:  lea rax, [rip + target]
    sub rax, rdi
    add rax, rcx
    call print_value

    CASE rep_stosb                      # a trap after each element, at the instruction itself but for the last
    WATCH 0, block, W4
    lea rdi, [rip + block + 1]
    mov ecx, 2
o_rep_stosb:
    rep stosb
    DISARM

    CASE rep_movsb_backwards
    DR_AT 0, block + 2
    DR_AT 1, block + 18
    DR 7, 0x40a | W1 << 16 | RW1 << 20
    lea rdi, [rip + block + 3]
    lea rsi, [rip + block + 19]
    mov ecx, 3
    std
o_rep_movsb_backwards:
    rep movsb
    cld
    DISARM

    CASE rep_outside
    WATCH 0, block+8, W8
    lea rdi, [rip + block]
    mov ecx, 8
o_rep_outside:
    rep stosb
    DISARM

    CASE rep_zero
    WATCH 0, block, W8
    lea rdi, [rip + block]
    xor ecx, ecx
o_rep_zero:
    rep stosb
    DISARM

    CASE repe_cmpsb_ends
    mov dword ptr [rip + block], 0x01010101
    mov dword ptr [rip + block + 16], 0x01020101
    WATCH 0, block, RW4
    lea rsi, [rip + block]
    lea rdi, [rip + block + 16]
    mov ecx, 4
o_repe_cmpsb_ends:
    repe cmpsb
    DISARM

    CASE repne_scasb_ends
    mov dword ptr [rip + block], 0x00000707
    WATCH 0, block, RW4
    lea rdi, [rip + block]
    xor eax, eax
    mov dr6, rax                        # keeps al clear
    mov ecx, 4
o_repne_scasb_ends:
    repne scasb
    DISARM

    CASE rep_step                       # single step is after each element, too
    lea rdi, [rip + block]
    mov ecx, 3
    SET_TF
o_rep_step:
    rep stosb
    CLEAR_TF_IMAGE
    push rax
    popfq

    CASE rf_between_elements
    WATCH 0, block, W4
    lea rdi, [rip + block + 1]
    mov ecx, 2
o_rf_between_elements:
    rep stosb
    DISARM

    CASE step_int3                      # INT clears TF: no step at its handler, none after it
    SET_TF
    nop
o_step_int3:
    int3
    nop
    CLEAR_TF_IMAGE
    push rax
    popfq

    CASE step_iretq                     # IRET that sets TF: the first step is after the next instruction
    mov rbx, rsp
    push DATA
    push rbx
    push TF | 2
    push CODE
    lea rax, [rip + o_step_iretq]
    push rax
    pushfq
    pop rax
    iretq
o_step_iretq:
    nop
    push rax
    popfq

    CASE step_fault                     # a faulting instruction is not stepped
    RECOVER 1f
    SET_TF
o_step_fault:
    ud2
1:  CLEAR_TF_IMAGE
    push rax
    popfq

    CASE movss_read                     # without anything behind it, the match of MOV SS comes one instruction late
    mov word ptr [rip + target], ss
    WATCH 0, target, RW4
    mov ss, [rip + target]
    nop
o_movss_read:
    DISARM

    CASE movss_movss                    # only the first of two has a shadow
    mov word ptr [rip + target], ss
    mov ecx, ss
    WATCH 0, target, RW4
    mov ss, [rip + target]
    mov ss, ecx
o_movss_movss:
    nop
    DISARM

    CASE movss_execute                  # the shadow hides an execute slot, and one #DB is all
    mov word ptr [rip + target], ss
    DR_AT 1, 1f
    DR_AT 0, target
    DR 7, 0x40a | RW4 << 16
    mov ss, [rip + target]
1:  nop
o_movss_execute:
    nop
    DISARM

    CASE io_out
    call extensions_on
    DR 3, 0x80
    DR 7, 0x480 | 2 << 28
    out 0x80, al
o_io_out:
    DISARM
    call extensions_off

    CASE io_in
    call extensions_on
    DR 3, 0x80
    DR 7, 0x480 | 2 << 28
    in al, 0x80
o_io_in:
    DISARM
    call extensions_off

    CASE io_other_port
    call extensions_on
    DR 3, 0x80
    DR 7, 0x480 | 2 << 28
    out 0x84, al
o_io_other_port:
    DISARM
    call extensions_off

    CASE io_length                      # two bytes from 80h: port 81h is one of them
    call extensions_on
    DR 3, 0x81
    DR 7, 0x480 | 6 << 28
    in al, 0x80
o_io_length:
    DISARM
    call extensions_off

    CASE io_rep_outsb
    call extensions_on
    DR 3, 0x80
    DR 7, 0x480 | 2 << 28
    lea rsi, [rip + block]
    mov edx, 0x80
    mov ecx, 2
o_io_rep_outsb:
    rep outsb
    DISARM
    call extensions_off

    CASE io_and_step
    call extensions_on
    DR 3, 0x80
    DR 7, 0x480 | 2 << 28
    SET_TF
    out 0x80, al
o_io_and_step:
    push 2
    popfq
    DISARM
    call extensions_off
    END_OF_CASES

o_call_pushes:
    ret

extensions_on:
    mov rax, cr4
    or rax, 8
    mov cr4, rax
    ret
extensions_off:
    mov rax, cr4
    and rax, ~8
    mov cr4, rax
    ret

.data
.balign 16
target: .quad 0, 0
block: .quad 0, 0, 0, 0
.balign 4096
    .skip 4096
page_end:
    .quad 0
