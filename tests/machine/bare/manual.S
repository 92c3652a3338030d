# The SDM's own examples (3B 17.2.5, 17.2.6) and what it says of the registers; what each must show is in rows.toml.
# The example's A0001h, A0002h, B0002h and C0000h are 2A0001h, 2A0002h, 2B0002h and 2C0000h here.

.include "cases.inc"

.text
arm_example:
    DR 0, 0x2a0001
    DR 1, 0x2a0002
    DR 2, 0x2b0002
    DR 3, 0x2c0000
    DR 7, 0xd71304aa
    ret

.macro EXAMPLE address, size, register
    CASE read_\address\()_\size
    call arm_example
    mov \register, [0x200000 + 0x\address]
o_read_\address\()_\size:
    DISARM
    CASE write_\address\()_\size
    call arm_example
    mov [0x200000 + 0x\address], \register
o_write_\address\()_\size:
    DISARM
.endm

    EXAMPLE a0001, 1, bl
    EXAMPLE a0001, 2, bx
    EXAMPLE a0002, 1, bl
    EXAMPLE a0002, 2, bx
    EXAMPLE b0001, 4, ebx
    EXAMPLE b0002, 1, bl
    EXAMPLE b0002, 2, bx
    EXAMPLE c0000, 4, ebx
    EXAMPLE c0001, 2, bx
    EXAMPLE c0003, 1, bl
    EXAMPLE a0000, 1, bl
    EXAMPLE a0003, 4, ebx
    EXAMPLE b0000, 2, bx
    EXAMPLE c0000, 2, bx
    EXAMPLE c0004, 4, ebx

    CASE dr7_written
o_dr7_written:
    mov eax, 0xffffd7ff
    mov dr7, rax
    mov rbx, dr7
    DISARM
    mov rax, rbx
    call print_value

    CASE dr6_written
o_dr6_written:
    mov eax, 0xfffeffff
    mov dr6, rax
    mov rax, dr6
    call print_value

    CASE dr0_holds_64_bits
o_dr0_holds_64_bits:
    mov rax, 0x0123456789abcdef
    mov dr0, rax
    mov rax, dr0
    call print_value

    CASE dr5_alias
o_dr5_alias:
    DR 5, 0x300
    mov rax, dr7
    call print_value

    CASE dr6_upper_half
    RECOVER 1f
    mov rax, 0x100000000
o_dr6_upper_half:
    mov dr6, rax
1:
    CASE dr7_upper_half
    RECOVER 1f
    mov rax, 0x100000400
o_dr7_upper_half:
    mov dr7, rax
1:
    CASE dr_in_user_mode
    lea rax, [rip + o_dr_in_user_mode]
    call enter_user

    CASE dr4_in_user_mode               # with CR4.DE: #UD comes before #GP
    mov rax, cr4
    or rax, 8
    mov cr4, rax
    lea rax, [rip + o_dr4_in_user_mode]
    call enter_user

    CASE gd_in_user_mode                # #GP comes before general detect
    DR 7, 0x2400
    lea rax, [rip + o_gd_in_user_mode]
    call enter_user

    CASE gd_read
    DR 7, 0x2400
o_gd_read:
    mov rax, dr0
    DISARM

    CASE gd_before_upper_half           # general detect comes before #GP for the value
    RECOVER 1f
    DR 7, 0x2400
    mov rax, 0x100000400
o_gd_before_upper_half:
    mov dr7, rax
1:  DISARM

    CASE gd_ends_with_any_db
    DR_AT 0, target
    DR 7, 0x000d2402
    mov dword ptr [rip + target], eax
o_gd_ends_with_any_db:
    DISARM

    CASE execute_first_byte             # the first prefix
    DR_AT 2, o_execute_first_byte
    DR 7, 0x420
o_execute_first_byte:
    .byte 0x2e, 0x90
    DISARM

    CASE execute_inside
    DR_AT 2, o_execute_inside + 1
    DR 7, 0x420
o_execute_inside:
    .byte 0x2e, 0x90
    DISARM

    CASE local_enable                   # Ln and Gn mean the same
    DR_AT 2, o_local_enable
    DR 7, 0x410
o_local_enable:
    nop
    DISARM

    CASE exact_bits_do_nothing          # LE and GE without an enable
    DR_AT 2, o_exact_bits_do_nothing
    DR 7, 0x700
o_exact_bits_do_nothing:
    nop
    DISARM
    END_OF_CASES

o_dr_in_user_mode:
    mov rax, dr7
    int 0x80
o_dr4_in_user_mode:
    mov rax, dr4
    int 0x80
o_gd_in_user_mode:
    mov rax, dr0
    int 0x80

.data
.balign 8
target: .quad 0
