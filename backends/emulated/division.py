"""Division overflow: the engine raises #DE for a zero divisor only (SDM 2, DIV and IDIV)."""

from __future__ import annotations

from typing import Protocol

import iced_x86 as ic

from backends.emulated.decode import REGISTER_NAMES, Decoded
from backends.emulated.engine import READ, Engine

__all__ = ["DIVISIONS", "overflows"]


class Memory(Protocol):
    """What knows whether a divisor in memory can be read."""

    def check(self, address: int, size: int, prot: int) -> None:
        """OSError where that access is not allowed."""
        ...


DIVISIONS = frozenset({ic.Mnemonic.DIV, ic.Mnemonic.IDIV})


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 & 1 else value


def _divisor(decoded: Decoded, engine: Engine, space: Memory) -> tuple[int, int] | None:
    """The divisor and its size in bits; None where it cannot be read (the instruction will fault by itself)."""
    instruction = decoded.instruction
    if instruction.op0_kind == ic.OpKind.REGISTER:
        register = instruction.op0_register
        return engine.read_register(REGISTER_NAMES[register]), 8 * ic.RegisterExt.size(register)
    address, size, _ = decoded.accesses()[0]
    try:
        space.check(address, size, READ)
    except OSError:
        return None
    return int.from_bytes(engine.read(address, size), "little"), 8 * size


def overflows(decoded: Decoded, engine: Engine, space: Memory) -> bool:
    """Whether the quotient of the division at pc does not fit its register."""
    operand = _divisor(decoded, engine, space)
    if operand is None or not operand[0]:
        return False
    divisor, bits = operand
    mask = (1 << bits) - 1
    if bits == 8:
        dividend = engine.get("RAX") & 0xFFFF
    else:
        dividend = (engine.get("RDX") & mask) << bits | engine.get("RAX") & mask
    if decoded.mnemonic == ic.Mnemonic.DIV:
        return dividend // divisor > mask
    dividend, divisor = _signed(dividend, 2 * bits), _signed(divisor, bits)
    quotient = abs(dividend) // abs(divisor)
    return quotient > mask >> 1 if (dividend < 0) == (divisor < 0) else quotient > mask + 1 >> 1
