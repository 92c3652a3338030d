# Linux's tools/testing/selftests/breakpoints/breakpoint_test.c, written anew: every slot, length and enable bit. What each case
# must show is in rows.toml. Modes: g global, l local, b both, each with GE or LE as the test sets it.

.include "cases.inc"

.set MODE_g, 0x202
.set MODE_l, 0x101
.set MODE_b, 0x303
.set LEN_1, 0
.set LEN_2, 4
.set LEN_4, 12
.set LEN_8, 8

.text
.macro ENABLE slot, mode, nibble        # LE and GE stay where they are, Ln and Gn move with the slot
    DR 7, 0x400 | (MODE_\mode & 0x300) | ((MODE_\mode & 3) << (2 * \slot)) | (\nibble << (16 + 4 * \slot))
.endm
.macro EXECUTE slot, mode
    CASE x_\mode\()_\slot
    mov dword ptr [rip + rf_mask], 15
    DR_AT \slot, o_x_\mode\()_\slot
    ENABLE \slot, \mode, 0
o_x_\mode\()_\slot:
    nop
    DISARM
.endm
.macro STORE slot, mode, length, register
    CASE w\length\()_\mode\()_\slot
    DR_AT \slot, target
    ENABLE \slot, \mode, (LEN_\length + 1)
    mov [rip + target], \register
o_w\length\()_\mode\()_\slot:
    DISARM
.endm
.macro LOAD slot, mode, length, register
    CASE r\length\()_\mode\()_\slot
    DR_AT \slot, target
    ENABLE \slot, \mode, (LEN_\length + 3)
    mov \register, [rip + target]
o_r\length\()_\mode\()_\slot:
    DISARM
.endm

.irp mode, g, l, b
.irp slot, 0, 1, 2, 3
    EXECUTE \slot, \mode
.endr
.endr
.irp mode, g, l, b
.irp slot, 0, 1, 2, 3
    STORE \slot, \mode, 1, bl
    STORE \slot, \mode, 2, bx
    STORE \slot, \mode, 4, ebx
    STORE \slot, \mode, 8, rbx
.endr
.endr
.irp mode, g, l, b
.irp slot, 0, 1, 2, 3
    LOAD \slot, \mode, 1, bl
    LOAD \slot, \mode, 2, bx
    LOAD \slot, \mode, 4, ebx
    LOAD \slot, \mode, 8, rbx
.endr
.endr
    CASE bt_icebp
    .byte 0xf1
o_bt_icebp:
    CASE bt_int3
    int3
o_bt_int3:
    END_OF_CASES

.data
.balign 8
target: .quad 0
