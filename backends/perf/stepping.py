"""Where a thread will be after its next instruction, and an execute slot that stops it there.

Never PTRACE_SINGLESTEP: a tracer killed in it leaves a trap pending that kills the task. An execute slot's hit raises a
signal that is ignored by default.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from backends.base import HwbpError
from backends.perf import events
from backends.perf.opener import Opener

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["StopAt", "following"]

_LONGEST: Final = 15
_NARROW: Final = (1 << 32) - 1
_INT80: Final = 2
"""Bytes of the `int 0x80` behind a fast system call of 32 bits: the kernel comes back behind that
(arch/x86/entry/common.c, do_fast_syscall_32; arch/x86/entry/vdso/vdso32/system_call.S)."""
_RT_SIGRETURN: Final = 15
_SAVED_RIP: Final = 40 + 16 * 8
"""rip of uc_mcontext in the struct ucontext that rsp points to when a signal handler returns
(arch/x86/include/uapi/asm/sigcontext.h, struct sigcontext_64; arch/x86/kernel/signal_64.c, rt_sigreturn)."""
_FLAG: Final = {"c": 0, "p": 2, "z": 6, "s": 7, "o": 11}


class StopAt:
    """An execute slot on one thread, which stops it at an address once its stack pointer is above `sp_above`.

    Raises OSError (ENOSPC where no register is free).
    """

    def __init__(self, opener: Opener, tid: int, address: int, sp_above: int = 0) -> None:
        self.tid = tid
        self.address = address
        self._fd = opener.stop_at(tid, address, sp_above)

    @property
    def reached(self) -> bool:
        """Whether the thread has come by, at whatever depth."""
        return events.read_counts(self._fd, sampled=False).hits > 0

    def close(self) -> None:
        """Free the slot."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def following(
    registers: Mapping[str, int],
    read: Callable[[int, int], bytes],
    *,
    over_calls: bool,
    bits: Literal[32, 64] = 64,
) -> tuple[int, int]:
    """(address, stack pointer that it must be above) where the next instruction, of so many bits, leads. Raises HwbpError."""
    import iced_x86 as ic

    ip, sp = registers["rip"], registers["rsp"]
    mask = (1 << bits) - 1
    code = b""
    for size in (_LONGEST, -ip & 0xFFF):
        try:
            code = read(ip, size) if size else b""
            break
        except HwbpError:
            continue
    insn = next(iter(ic.Decoder(bits, code, ip=ip)), None) if code else None
    if insn is None or insn.is_invalid:
        raise HwbpError(f"what stands at {ip:#x} is no instruction", errno="EFAULT")
    after = ip + insn.len & mask
    flow = insn.flow_control
    kinds = ic.FlowControl
    if flow == kinds.CONDITIONAL_BRANCH:
        return (insn.near_branch_target if _taken(insn, registers, mask) else after), 0
    if flow == kinds.UNCONDITIONAL_BRANCH:
        return insn.near_branch_target, 0
    if (insn.is_call_near or insn.is_call_near_indirect) and over_calls:
        return after, sp - 1
    if insn.is_call_near:
        return insn.near_branch_target, 0
    if flow == kinds.RETURN:
        return int.from_bytes(read(sp, bits // 8), "little"), 0
    if insn.is_jmp_near_indirect or insn.is_call_near_indirect:
        return _indirect(insn, registers, read, bits), 0
    if bits == 32 and insn.mnemonic in (ic.Mnemonic.SYSENTER, ic.Mnemonic.SYSCALL):
        return after + _INT80, 0
    if bits == 64 and insn.mnemonic == ic.Mnemonic.SYSCALL and registers["rax"] == _RT_SIGRETURN:
        return int.from_bytes(read(sp + _SAVED_RIP, 8), "little"), 0
    return after, 0


def _taken(insn: Any, registers: Mapping[str, int], mask: int) -> bool:
    import iced_x86 as ic

    if insn.is_jcx_short:
        return registers["rcx"] & (_NARROW if insn.mnemonic == ic.Mnemonic.JECXZ else mask) == 0
    flags = registers["eflags"]
    c, p, z, s, o = (bool(flags >> _FLAG[name] & 1) for name in "cpzso")
    if insn.is_loop or insn.is_loopcc:
        left = registers["rcx"] - 1 & mask
        wanted = {ic.Mnemonic.LOOPE: z, ic.Mnemonic.LOOPNE: not z}.get(insn.mnemonic, True)
        return bool(left) and wanted
    code = ic.ConditionCode
    return {
        code.O: o, code.NO: not o, code.B: c, code.AE: not c, code.E: z, code.NE: not z, code.BE: c or z,
        code.A: not (c or z), code.S: s, code.NS: not s, code.P: p, code.NP: not p, code.L: s != o, code.GE: s == o,
        code.LE: z or s != o, code.G: not z and s == o,
    }[insn.condition_code]  # fmt: skip


def _indirect(insn: Any, registers: Mapping[str, int], read: Callable[[int, int], bytes], bits: int) -> int:
    import iced_x86 as ic

    wide = {
        getattr(ic.Register, name.upper()): name for name in registers if hasattr(ic.Register, name.upper())
    }
    names = wide
    if bits == 32:
        names = {ic.RegisterExt.full_register32(full): name for full, name in wide.items()}
    if insn.op0_kind == ic.OpKind.REGISTER:
        return registers[names[insn.op0_register]] & (1 << bits) - 1
    address = insn.memory_displacement
    if not insn.is_ip_rel_memory_operand:
        if insn.memory_base in names:
            address += registers[names[insn.memory_base]]
        if insn.memory_index in names:
            address += registers[names[insn.memory_index]] * insn.memory_index_scale
    segment = {ic.Register.FS: "fs_base", ic.Register.GS: "gs_base"}.get(insn.memory_segment)
    if segment is not None:
        address += registers[segment]
    return int.from_bytes(read(address & (1 << bits) - 1, bits // 8), "little")
