"""The memory fault of an instruction: where it is, and what Linux makes of it (SDM 3A 6.15; arch/x86/mm/fault.c, kernel/traps.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import iced_x86 as ic

from backends.emulated.decode import AccessList, Decoded
from backends.emulated.engine import EXEC, READ, WRITE, EngineError, Unsupported

if TYPE_CHECKING:
    from backends.emulated.cpu import Cpu
    from backends.emulated.memory import AddressSpace

__all__ = ["canonical", "crosses", "first_fault", "memory_fault"]

_SIGBUS, _SIGSEGV = 7, 11
_SEGV_MAPERR, _SEGV_ACCERR, _SI_KERNEL = 1, 2, 0x80
_WHOLE = 0xFFFF_FFFF_FFFF_FFFF


def canonical(address: int) -> bool:
    """Whether bits 63 to 47 are alike."""
    return address + (1 << 47) & _WHOLE < 1 << 48


def reaches_out(address: int, size: int) -> bool:
    """Whether an access begins at a canonical address and ends at one that is not: #GP or #SS as a whole."""
    return address < 1 << 47 < address + size


def _leads_out(top: int) -> bool:
    """Whether a push or a pop at this stack pointer is outside of the canonical addresses."""
    return not canonical(top) or reaches_out(top, 8) or reaches_out(top - 8, 8)


def crosses(accesses: AccessList) -> bool:
    """Whether a store reaches over the end of a page."""
    return any(kind & 2 and address >> 12 != address + size - 1 >> 12 for address, size, kind in accesses)


def first_fault(space: AddressSpace, accesses: AccessList) -> int | None:
    """The first byte that may not be accessed, reads before writes, and of a page after the first its first byte."""
    for bit, prot in ((1, READ), (2, WRITE)):
        for address, size, kind in accesses:
            if kind & bit:
                for at in range(address, address + size):
                    if (at == address or not at & 4095) and not _allowed(space, at & _WHOLE, prot):
                        return at & _WHOLE
    return None


def _allowed(space: AddressSpace, at: int, prot: int) -> bool:
    try:
        space.check(at, 1, prot)
    except OSError:
        return False
    return True


def memory_fault(cpu: Cpu, reported: int, known: int | None = None) -> None:
    """The instruction at pc faults: its signal. Registers are as they were before it; the engine reported this address.

    Raises Unsupported where it may do what it does, but changes code that may have run.
    `known` is the byte it faults at, where that is not the first of its operands which may not be accessed.
    """
    pc, space = cpu.engine.pc, cpu.space
    decoded: Decoded | None = None
    accesses: AccessList = ()
    if space.prot_at(pc) & EXEC:
        try:
            decoded = cpu.decode(pc)
            accesses = decoded.accesses()
        except EngineError:
            pass
    if not canonical(reported) and all(canonical(address) for address, _, _ in accesses):
        cpu.signal(
            _SIGSEGV, 0, _SI_KERNEL
        )  # an operand that is not aligned, as the engine was told to say it
        return
    at = first_fault(space, accesses) if known is None else known
    if at is None and any(
        kind & 2 and (space.sealed(a) or space.sealed(a + size - 1)) for a, size, kind in accesses
    ):
        raise Unsupported("code that has already run is being rewritten")
    if at is None:
        at = reported
    if canonical(at) and not any(
        reaches_out(address, size) for address, size, _ in accesses if address == at
    ):
        cpu.signal(_SIGSEGV, at, _SEGV_ACCERR if space.mapped(at) else _SEGV_MAPERR)
        return
    on_stack = decoded is not None and (
        decoded.instruction.memory_segment == ic.Register.SS
        or decoded.mnemonic == ic.Mnemonic.LEAVE
        or (decoded.instruction.is_stack_instruction and _leads_out(cpu.engine.get("RSP")))
    )
    cpu.signal(_SIGBUS if on_stack else _SIGSEGV, 0, _SI_KERNEL)
