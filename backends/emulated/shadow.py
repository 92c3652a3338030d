"""MOV SS: no #DB before the end of the instruction after it (SDM 3A 6.8.3, "Masking Exceptions and Interrupts When Switching Stacks")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import iced_x86 as ic

from backends.emulated.decode import REGISTER_NAMES, Decoded
from backends.emulated.engine import READ, EngineError
from backends.emulated.hits import report, report_held

if TYPE_CHECKING:
    from backends.emulated.cpu import Cpu

__all__ = ["moves_ss", "run_mov_ss"]

_USER_DS = 0x2B
"""The one selector that Linux has for it (arch/x86/include/asm/segment.h, __USER_DS); another is #GP."""
_SIGSEGV, _SEGV_MAPERR, _SEGV_ACCERR, _SI_KERNEL = 11, 1, 2, 0x80


def moves_ss(decoded: Decoded) -> bool:
    """Whether this is MOV SS."""
    return decoded.mnemonic == ic.Mnemonic.MOV and decoded.instruction.op0_register == ic.Register.SS


def run_mov_ss(cpu: Cpu, pc: int, decoded: Decoded) -> None:
    """Run the MOV SS at pc and the instruction in its shadow: what both hit is one #DB, after the second.

    Where the second faults, or enters the kernel, what was held back is lost. A MOV SS in the shadow has one too, as on
    an AMD Zen 5 (the SDM lets only the first of several hold #DB back).
    """
    held = cpu.held = []
    stepping = cpu.stepping
    try:
        while _load(cpu, pc, decoded):
            pc = cpu.engine.pc
            try:
                decoded = cpu.decode(pc)
            except EngineError:
                cpu.one()
                break
            if not moves_ss(decoded):
                cpu.stepping = stepping or decoded.rep
                cpu.one()
                break
    finally:
        cpu.held = None
        cpu.stepping = stepping
    report_held(cpu, held)


def _load(cpu: Cpu, pc: int, decoded: Decoded) -> bool:
    """The MOV SS alone; False where it faulted."""
    engine = cpu.engine
    accesses = decoded.accesses()
    touched = []
    if accesses:
        address, size, _ = accesses[0]
        for at in (address, address + size - 1):
            if not cpu.space.mapped(at) or not cpu.space.prot_at(at) & READ:
                cpu.signal(_SIGSEGV, at, _SEGV_ACCERR if cpu.space.mapped(at) else _SEGV_MAPERR)
                return False
        selector = int.from_bytes(engine.read(address, size), "little") & 0xFFFF
        touched = [(s, 1, s.current(engine.raw_read)) for s in cpu.unit.touched(address, address + size)]
    else:
        selector = engine.get(REGISTER_NAMES[decoded.instruction.op1_register]) & 0xFFFF
    if selector != _USER_DS:
        cpu.signal(_SIGSEGV, 0, _SI_KERNEL)
        return False
    stack = cpu.stack(pc) if touched else 0
    engine.pc += decoded.length
    cpu.surplus -= 1
    cpu.rf_pc = -1
    report(cpu, pc, touched, stack)
    return True
