"""The signal frame that a handler runs on, and its return (arch/x86/kernel/signal_64.c).

EFLAGS in the frame keep RF, so that an instruction whose execute breakpoint hit just before the signal is not trapped
again when the handler has returned; the handler itself starts with RF, TF and DF clear.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from backends.emulated.linux.state import Handler, Task
from backends.emulated.rflags import RF, TF
from backends.emulated.x87.image import FXSAVE_SIZE, fxrstor, fxsave

__all__ = ["HANDLERS", "enter_handler", "rt_sigreturn"]

_ONSTACK = 0x0800_0000
_RED_ZONE = 128
_GENERAL = (
    *("R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"),
    *("RDI", "RSI", "RBP", "RBX", "RDX", "RAX", "RCX", "RSP"),
)
"""`struct sigcontext_64` in its order, up to rip."""
_SEGMENTS = 0x33 | 0x2B << 48  # cs, gs, fs, ss
_CONTEXT = struct.Struct("<QQQixxxxQ")  # uc_flags, uc_link, uc_stack
_CONTEXT_AT, _INFO_AT, _FRAME_SIZE = 8, 312, 440
_REGISTERS = struct.Struct("<18Q Q 4Q Q 64x Q")  # registers, segments, err trapno oldmask cr2, fpstate, mask
_FPSTATE = FXSAVE_SIZE
_MXCSR = 0x1F80


def _on_stack(task: Task, sp: int) -> bool:
    base, flags, size = task.altstack
    return not flags & 2 and base < sp <= base + size


def enter_handler(task: Task, number: int, info: bytes, action: bytes) -> bool:
    """Build the frame and go to the handler; False where the stack has no room for it."""
    engine = task.engine
    handler, flags, restorer, _ = struct.unpack("<4Q", action)
    sp = engine.get("RSP")
    if flags & _ONSTACK and not task.altstack[1] & 2 and not _on_stack(task, sp):
        sp = task.altstack[0] + task.altstack[2]
    else:
        sp -= _RED_ZONE
    fpstate = (sp - _FPSTATE) & -64
    frame = ((fpstate - _FRAME_SIZE) & -16) - 8
    pc = engine.pc
    rf = pc in (
        task.rf_pc,
        task.rep_pc,
    )  # a trap between the elements of a rep pushes RF too (SDM 3B 17.3.1.1)
    rflags = engine.get("RFLAGS") | (RF if rf else 0) | (TF if task.guest_tf else 0)
    registers = _REGISTERS.pack(
        *(engine.get(name) for name in _GENERAL), pc, rflags, _SEGMENTS, 0, 0, task.blocked, 0, fpstate,
        task.saved_mask if task.saved_mask is not None else task.blocked,
    )  # fmt: skip
    stack = _CONTEXT.pack(0, 0, task.altstack[0], task.altstack[1], task.altstack[2])
    data = struct.pack("<Q", restorer) + stack + registers
    try:
        task.space.copy_in(fpstate, fxsave(engine))
        task.space.copy_in(frame, data.ljust(_INFO_AT, b"\0") + info)
    except OSError:
        return False
    engine.x87.reset()  # a handler begins with a fresh FPU (arch/x86/kernel/fpu/signal.c, fpu__clear_user_states)
    engine.set("MXCSR", _MXCSR)
    task.saved_mask = None
    task.rf_pc = task.rep_pc = -1
    task.guest_tf = False
    for name, value in (
        ("RDI", number),
        ("RSI", frame + _INFO_AT),
        ("RDX", frame + _CONTEXT_AT),
        ("RAX", 0),
        ("RSP", frame),
        ("RFLAGS", engine.get("RFLAGS") & ~(1 << 10)),
    ):
        engine.set(name, value)
    engine.pc = handler
    return True


def rt_sigreturn(task: Task, *_: int) -> None:
    """The handler has returned: everything is as the frame says, RF and TF too."""
    engine = task.engine
    frame = engine.get("RSP") - 8
    data = task.space.copy_out(frame + _CONTEXT_AT, _INFO_AT - _CONTEXT_AT)
    _, _, base, stack_flags, size = _CONTEXT.unpack_from(data)
    values = _REGISTERS.unpack_from(data, _CONTEXT.size)
    pc, rflags, fpstate, mask = values[16], values[17], values[23], values[24]
    image = task.space.copy_out(fpstate, _FPSTATE) if fpstate else None
    for name, value in zip(_GENERAL, values, strict=False):
        engine.set(name, value)
    engine.set("RFLAGS", rflags)
    if image is not None:
        fxrstor(engine, image)
    task.altstack = (base, stack_flags, size)
    task.blocked = mask & ~(1 << 8 | 1 << 18)  # SIGKILL and SIGSTOP
    task.rf_pc = pc if rflags & RF else -1
    task.guest_tf = bool(rflags & TF)
    task.signalled = True  # what the mask held back may come now
    engine.pc = pc


HANDLERS: Mapping[str, Handler] = {"rt_sigreturn": rt_sigreturn}
