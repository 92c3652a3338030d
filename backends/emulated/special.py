"""Instructions that the engine may not run by itself: ours, refused, or an exception of user mode.

CPUID describes one consistent baseline x86-64: SSE2, no AVX, no XSAVE, so that libraries choose code the engine has.
"""

from __future__ import annotations

import struct
from typing import Final

import iced_x86 as ic

from backends.emulated.decode import IN_USER_FAULTS, IN_USER_UNDEFINED, Decoded
from backends.emulated.engine import Engine, EngineError, Unsupported
from backends.emulated.x87.image import MXCSR_MASK

__all__ = ["HWCAP", "Privileged", "UndefinedInstruction", "check_mxcsr", "is_undefined", "run_special"]

HWCAP: Final = sum(1 << bit for bit in (0, 4, 8, 15, 23, 24, 25, 26))
"""CPUID.1:EDX: FPU, TSC, CX8, CMOV, MMX, FXSR, SSE, SSE2; also AT_HWCAP."""

_CX16 = 1 << 13
_MISALIGNED: Final = 1 << 17
# glibc reads the features of vendors it knows only, so the vendor is one of those; the brand string says who we are.
_VENDOR = struct.unpack("<3I", b"AuthenticAMD")
_BRAND = struct.unpack("<12I", b"hwbp-tui emulated x86-64".ljust(48, b"\0"))
_LEAVES: Final[dict[int, tuple[int, int, int, int]]] = {
    0x0: (0x7, _VENDOR[0], _VENDOR[2], _VENDOR[1]),
    0x1: (0x00000F48, 0x00010800, _CX16, HWCAP),
    0x8000_0000: (0x8000_0008, 0, 0, 0),
    0x8000_0001: (0, 0, 1, 1 << 11 | 1 << 20 | 1 << 27 | 1 << 29),  # LAHF; SYSCALL, NX, RDTSCP, LM
    0x8000_0002: (_BRAND[0], _BRAND[1], _BRAND[2], _BRAND[3]),
    0x8000_0003: (_BRAND[4], _BRAND[5], _BRAND[6], _BRAND[7]),
    0x8000_0004: (_BRAND[8], _BRAND[9], _BRAND[10], _BRAND[11]),
    0x8000_0005: (
        0,
        0,
        32 << 24 | 8 << 16 | 1 << 8 | 64,
        32 << 24 | 8 << 16 | 1 << 8 | 64,
    ),  # 32 KiB of L1 each
    0x8000_0006: (0, 0, 512 << 16 | 6 << 12 | 1 << 8 | 64, 0),  # 512 KiB of L2
    0x8000_0008: (0x3030, 0, 0, 0),
}
_M = ic.Mnemonic


class Privileged(Exception):
    """#GP at CPL 3: SIGSEGV under Linux."""


class UndefinedInstruction(Exception):
    """#UD: SIGILL under Linux."""


def _check_mxcsr(engine: Engine, decoded: Decoded) -> None:
    """Before LDMXCSR."""
    address, size, _ = decoded.accesses()[0]
    try:
        value = int.from_bytes(engine.read(address, size), "little")
    except EngineError:
        return
    check_mxcsr(value)


def check_mxcsr(value: int) -> None:
    """Reserved bits of MXCSR are #GP (SDM 1, 11.6.4). Raises Privileged, or Unsupported for AMD's misaligned operands (APM 1, 4.2.2)."""
    if value & ~MXCSR_MASK:
        raise Privileged
    if value & _MISALIGNED:
        raise Unsupported("SSE operands that need not be aligned (MXCSR.MM) are not emulated")


def _loads_segment(decoded: Decoded) -> bool:
    """LSS, LFS, LGS, POP FS and GS, MOV to a segment register but SS (which `shadow` has)."""
    register = decoded.instruction.op0_register
    return decoded.mnemonic in (_M.LSS, _M.LFS, _M.LGS) or (
        decoded.mnemonic in (_M.MOV, _M.POP)
        and ic.RegisterExt.is_segment_register(register)
        and register != ic.Register.SS
    )


_REGISTER_PREFETCHES: Final = {
    ic.Code.RESERVEDNOP_RM16_R16_0F0D, ic.Code.RESERVEDNOP_RM32_R32_0F0D, ic.Code.RESERVEDNOP_RM64_R64_0F0D,
}  # fmt: skip


def is_undefined(decoded: Decoded) -> bool:
    """Whether it is #UD at CPL 3 on an AMD processor; 0F 0D with a register, too, which is a nop on Intel's."""
    return decoded.mnemonic in IN_USER_UNDEFINED or decoded.instruction.code in _REGISTER_PREFETCHES


def run_special(engine: Engine, decoded: Decoded, clock: int) -> bool:
    """Run the instruction at pc if it is one of ours; False if it is an ordinary one.

    `clock` is the time stamp counter. Raises Unsupported, Privileged or UndefinedInstruction without changing anything.
    """
    mnemonic = decoded.mnemonic
    if mnemonic == _M.CPUID:
        leaf = engine.get("RAX") & 0xFFFF_FFFF
        for register, value in zip(
            ("RAX", "RBX", "RCX", "RDX"), _LEAVES.get(leaf, (0, 0, 0, 0)), strict=True
        ):
            engine.set(register, value)
    elif mnemonic in (_M.RDTSC, _M.RDTSCP):
        engine.set("RAX", clock & 0xFFFF_FFFF)
        engine.set("RDX", clock >> 32 & 0xFFFF_FFFF)
        if mnemonic == _M.RDTSCP:
            engine.set("RCX", 0)
    elif mnemonic == _M.XGETBV:
        raise UndefinedInstruction  # CR4.OSXSAVE is clear, as CPUID says
    elif mnemonic == _M.LDMXCSR:
        _check_mxcsr(engine, decoded)
        return False
    elif mnemonic == _M.SMSW:
        raise Unsupported("smsw, which Linux runs for a program (UMIP), is not emulated")
    elif is_undefined(decoded):
        raise UndefinedInstruction
    elif _loads_segment(decoded):
        raise Unsupported("loading a segment register is not emulated")
    elif mnemonic in IN_USER_FAULTS or decoded.touches_system_register:
        raise Privileged
    else:
        return False
    engine.pc += decoded.length
    return True
