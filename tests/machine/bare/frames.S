# A watched stack: exceptions whose own frames hit. On its own because QEMU ends at it.

.include "cases.inc"

.text
    CASE exception_frame                # the frame of #BP, on a watched stack: its handler begins with #DB
    mov rbx, rsp
    and rsp, -16
    lea rax, [rsp - 8]
    mov dr0, rax
    DR 7, 0x00090402
    int3
    mov rsp, rbx
    DISARM
    END_OF_CASES
.set o_exception_frame, bp_entry
