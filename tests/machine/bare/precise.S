# The cases of kvm-unit-tests' x86/debug.c for a MOV SS that hits its own watchpoint.

.include "cases.inc"

.text
    CASE precise_icebp
    mov word ptr [rip + value], ss
    DR_AT 1, value
    DR 7, 0x00f0040a
    mov ss, [rip + value]
    .byte 0x2e, 0x2e, 0xf1
o_precise_icebp:
    DISARM

    CASE precise_int1
    mov word ptr [rip + value], ss
    DR_AT 1, value
    DR 7, 0x00f0040a
    mov ss, [rip + value]
    .byte 0xcd, 1
o_precise_int1:
    DISARM

    CASE precise_int3
    mov word ptr [rip + value], ss
    DR_AT 1, value
    DR 7, 0x00f0040a
    mov ss, [rip + value]
    .fill 11, 1, 0x2e
    int3
o_precise_int3:
    DISARM
    END_OF_CASES

.data
.balign 8
value: .quad 0
