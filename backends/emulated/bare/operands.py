"""Operands of the instructions that are run here instead of by the engine, and the check that most of them begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import iced_x86 as ic

from backends.emulated.bare.code import Instruction
from backends.emulated.bare.faults import GP, GuestFault
from backends.emulated.decode import REGISTER_NAMES

if TYPE_CHECKING:
    from backends.emulated.bare.cpu import BareCpu

__all__ = ["SEGMENTS", "go_on", "need_level_0", "operand", "set_register", "store_operand"]

_MASK64: Final = (1 << 64) - 1
_MASK32: Final = (1 << 32) - 1
SEGMENTS: Final = {
    ic.Register.ES: "ES", ic.Register.CS: "CS", ic.Register.SS: "SS",
    ic.Register.DS: "DS", ic.Register.FS: "FS", ic.Register.GS: "GS",
}  # fmt: skip


def need_level_0(cpu: BareCpu) -> None:
    """#GP(0) at any other privilege level."""
    if cpu.state.cpl:
        raise GuestFault(GP, 0, why="privileged")


def go_on(cpu: BareCpu, decoded: Instruction) -> None:
    """The next instruction is the one behind this."""
    cpu.engine.pc += decoded.length


def operand(cpu: BareCpu, decoded: Instruction, size: int) -> int:
    """The value of operand 0, a register or memory."""
    instruction = decoded.instruction
    if instruction.op0_kind == ic.OpKind.REGISTER:
        return cpu.engine.read_register(REGISTER_NAMES[instruction.op0_register]) & (1 << 8 * size) - 1
    return cpu.load(decoded.accesses()[0][0], size)


def set_register(cpu: BareCpu, register: Any, value: int) -> None:
    """Write a general register of 16, 32 or 64 bits, with the zero-extension of 64-bit mode."""
    full = REGISTER_NAMES[ic.RegisterExt.full_register(register)]
    size = ic.RegisterExt.size(register)
    if size == 2:
        value = cpu.engine.get(full) & ~0xFFFF | value & 0xFFFF
    cpu.engine.set(full, value & (_MASK32 if size == 4 else _MASK64))


def store_operand(cpu: BareCpu, decoded: Instruction, value: int) -> None:
    """Operand 0 takes a 16-bit value: zero-extended into a register, two bytes in memory."""
    if decoded.instruction.op0_kind == ic.OpKind.REGISTER:
        set_register(cpu, decoded.instruction.op0_register, value)
    else:
        cpu.store(decoded.accesses()[0][0], 2, value)
    go_on(cpu, decoded)
