# An instruction whose load is watched and whose store faults. On its own because QEMU hangs in it.

.include "cases.inc"

.text
    CASE faulting_drops_its_match       # the load is watched, the store faults
    RECOVER 1f
    DR_AT 0, target
    DR 7, 0x000f0402
    lea rsi, [rip + target]
    mov edi, 0x40000000
o_faulting_drops_its_match:
    movsd
1:  DISARM
    END_OF_CASES

.data
.balign 8
target: .quad 0
