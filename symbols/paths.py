"""Which of a function's returns was taken: the last instructions before each are held against the registers behind it.

`mov eax, 1; ret` was not the way if eax is 2. Each instruction on the way to a `ret` whose results, and whose sources, nobody
overwrote since must agree with the registers; so must the flags, and the conditional jumps. Where ways meet, a `ret` is
ruled out if all of them are. What agrees may still not have been the way. Every check is the instruction's definition (SDM 2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import iced_x86 as ic
import numpy as np
from numpy.typing import NDArray

from symbols.accesses import FLAGS, general
from symbols.region import Region
from symbols.verdict import Hits, condition

__all__ = ["Way", "way_to"]

Words = NDArray[np.uint64]
Bools = NDArray[np.bool_]
Check = Callable[[Hits, NDArray[np.intp]], Bools]
"""Where the registers of these hits contradict one instruction."""

_M = ic.Mnemonic
_FLOW = ic.FlowControl
_LONGEST_WAY: Final = 32
_MERGES: Final = 3
_MOST_FROMS: Final = 6
_RESULTS: Final = frozenset({_M.ADD, _M.SUB, _M.AND, _M.OR, _M.XOR, _M.NEG, _M.INC, _M.DEC})
_LOGIC: Final = frozenset({_M.AND, _M.OR, _M.XOR})
_EXTENDED: Final = frozenset({_M.MOVZX, _M.MOVSX, _M.MOVSXD})
_ALL: Final = -1
_WIDE: Final = frozenset(range(ic.Register.RAX, ic.Register.R15 + 1))
_FACTORY = ic.InstructionInfoFactory()
_WRITES: Final = frozenset({
    ic.OpAccess.WRITE, ic.OpAccess.COND_WRITE, ic.OpAccess.READ_WRITE, ic.OpAccess.READ_COND_WRITE,
})  # fmt: skip


class _Part:
    """A general register or a part of one, or an immediate, of so many bits."""

    __slots__ = ("bits", "column", "immediate", "shift")

    def __init__(self, column: int, shift: int, bits: int, immediate: int = 0) -> None:
        self.column, self.shift, self.bits, self.immediate = column, shift, bits, immediate

    def of(self, hits: Hits, rows: NDArray[np.intp]) -> Words:
        mask = np.uint64((1 << self.bits) - 1)
        if self.column == _ALL:
            return np.full(len(rows), self.immediate & int(mask), np.uint64)
        value: Words = hits.matrix[self.column][rows] >> np.uint64(self.shift) & mask
        return value


class Way(NamedTuple):
    """Checks, and the ways that can have led to where they begin; with none, nothing more is known."""

    checks: tuple[Check, ...]
    before: tuple[Way, ...]

    def contradicted(self, hits: Hits, rows: NDArray[np.intp]) -> Bools:
        """Where the registers say that it cannot have been this way."""
        out = np.zeros(len(rows), bool)
        if not hits.have[: FLAGS + 1].all():
            return out
        for check in self.checks:
            out |= check(hits, rows)
        if self.before:
            rest = np.flatnonzero(~out)
            against = np.ones(len(rest), bool)
            for way in self.before:
                against &= way.contradicted(hits, rows[rest])
            out[rest] = against
        return out


def way_to(region: Region, end: int) -> Way:
    """Everything on the last instructions to the one at `end`."""
    return _way(region, _Place(end, False, frozenset(), False, ()), _MERGES)


class _Place(NamedTuple):
    """Where a walk back stands: what was overwritten since, and the branches since the flags were written."""

    address: int
    taken: bool
    late: frozenset[int]
    flags_late: bool
    branches: tuple[tuple[int, bool], ...]  # (condition, taken)


def _way(region: Region, place: _Place, merges: int) -> Way:
    made: list[Check] = []
    address, taken, late, flags_late, branches = place
    for step in range(_LONGEST_WAY):
        instruction = region.code[address]
        flow = instruction.flow_control
        if flow == _FLOW.CONDITIONAL_BRANCH:
            if instruction.condition_code == ic.ConditionCode.NONE:
                break  # jrcxz and loop
            if not flags_late:
                made.append(_branch(instruction.condition_code - 1, taken))
            branches = (*branches, (instruction.condition_code - 1, taken))
        elif flow == _FLOW.NEXT:
            made += _of(instruction, late, flags_late)
            if instruction.rflags_modified:
                made += _decided_by(instruction, late, branches)
                branches = ()
        elif not (flow == _FLOW.UNCONDITIONAL_BRANCH and taken) and not (step == 0 and flow == _FLOW.RETURN):
            break
        late |= {
            column
            for used in _FACTORY.info(instruction).used_registers()
            if used.access in _WRITES and (column := general(used.register)) is not None
        }
        flags_late |= instruction.rflags_modified != 0
        if address == region.entry:
            break  # entered here
        froms = region.came.get(address, ())
        if len(froms) == 1:
            (address, taken), *_ = froms
        elif froms and merges and len(froms) <= _MOST_FROMS:
            return Way(
                tuple(made),
                tuple(_way(region, _Place(*each, late, flags_late, branches), merges - 1) for each in froms),
            )
        else:
            break
    return Way(tuple(made), ())


def _part(instruction: Any, operand: int) -> _Part | None:
    """An operand that is a general register or an immediate."""
    kind = instruction.op_kind(operand)
    if kind == ic.OpKind.REGISTER:
        register = instruction.op_register(operand)
        column = general(register)
        if column is None:
            return None
        high = register in (ic.Register.AH, ic.Register.BH, ic.Register.CH, ic.Register.DH)
        return _Part(column, 8 if high else 0, ic.RegisterExt.size(register) * 8)
    if kind in _IMMEDIATES:
        return _Part(_ALL, 0, 64, instruction.immediate(operand))
    return None


_IMMEDIATES: Final = frozenset({
    ic.OpKind.IMMEDIATE8, ic.OpKind.IMMEDIATE16, ic.OpKind.IMMEDIATE32, ic.OpKind.IMMEDIATE64, ic.OpKind.IMMEDIATE8TO16,
    ic.OpKind.IMMEDIATE8TO32, ic.OpKind.IMMEDIATE8TO64, ic.OpKind.IMMEDIATE32TO64,
})  # fmt: skip


def _of(instruction: Any, late: frozenset[int], flags_late: bool) -> list[Check]:
    """What an instruction that goes on behind itself leaves to check. `late`: columns overwritten since."""
    mnemonic = instruction.mnemonic
    made: list[Check] = []
    if not 1 <= instruction.op_count <= 2:
        return made
    first = _part(instruction, 0)
    second = _part(instruction, 1) if instruction.op_count == 2 else None
    if first is None or first.column == _ALL or first.column in late:
        return made
    reads_second = second is not None and second.column not in late
    apart = second is not None and second.column != first.column
    if mnemonic == _M.MOV and second is not None and reads_second and apart:
        made.append(_equal(first, second))
    elif mnemonic in _EXTENDED and second is not None and reads_second and not second.shift:
        made.append(_extended(first, second, mnemonic != _M.MOVZX))
    elif mnemonic == _M.LEA:
        parts = [general(instruction.memory_base), general(instruction.memory_index)]
        wide = instruction.memory_base in _WIDE and instruction.memory_index in (*_WIDE, ic.Register.NONE)
        if wide and first.column not in parts and not {part for part in parts if part is not None} & late:
            made.append(_address(first, parts[0], parts[1], instruction))
    elif mnemonic in (_M.XOR, _M.SUB) and second is not None and not apart and first.bits >= 32:
        if first.shift == second.shift and first.bits == second.bits:
            made.append(_equal(first, _Part(_ALL, 0, 64, 0)))
    elif mnemonic == _M.CMP and second is not None and reads_second and not flags_late:
        made.append(_compared(first, second))
    elif mnemonic == _M.TEST and second is not None and reads_second and not flags_late:
        made.append(_tested(first, second))
    if mnemonic in _RESULTS and not flags_late:
        made.append(_result(first, mnemonic in _LOGIC))
        if mnemonic == _M.NEG:
            made.append(_negated(first))
        if mnemonic in (_M.ADD, _M.SUB) and second is not None and reads_second and apart:
            made.append(_carried(first, second, mnemonic == _M.SUB))
    return made


def _decided_by(
    instruction: Any, late: frozenset[int], branches: tuple[tuple[int, bool], ...]
) -> list[Check]:
    """The branches that a comparison decided, where what it compared is still there."""
    if instruction.mnemonic not in (_M.CMP, _M.TEST) or not branches or instruction.op_count != 2:
        return []
    first, second = _part(instruction, 0), _part(instruction, 1)
    if first is None or second is None or {first.column, second.column} & late:
        return []
    return [_decided(first, second, instruction.mnemonic == _M.TEST, code, taken) for code, taken in branches]


def _decided(first: _Part, second: _Part, tests: bool, code: int, taken: bool) -> Check:
    def check(hits: Hits, rows: NDArray[np.intp]) -> Bools:
        mask, top = np.uint64((1 << first.bits) - 1), np.uint64(first.bits - 1)
        left, right = first.of(hits, rows), second.of(hits, rows) & mask
        result = left & right if tests else left - right & mask
        one = np.uint64(1)
        flags = (result == 0).astype(np.uint64) << np.uint64(6) | (result >> top & one) << np.uint64(7)
        flags |= _even(result) << np.uint64(2)
        if not tests:
            flags |= (left < right).astype(np.uint64)
            flags |= (((left ^ right) & (left ^ result)) >> top & one) << np.uint64(11)
        met: Bools = condition(np.full(len(rows), code, np.uint8), flags) != 0
        no: Bools = met != taken
        return no

    return check


def _even(result: Words) -> Words:
    """PF: whether the low byte has an even number of ones."""
    low = result & np.uint64(0xFF)
    for shift in (4, 2, 1):
        low = low ^ low >> np.uint64(shift)
    odd: Words = low & np.uint64(1)
    return odd ^ np.uint64(1)


def _branch(code: int, taken: bool) -> Check:
    def check(hits: Hits, rows: NDArray[np.intp]) -> Bools:
        codes = np.full(len(rows), code, np.uint8)
        no: Bools = (condition(codes, hits.matrix[FLAGS][rows]) != 0) != taken
        return no

    return check


def _equal(first: _Part, second: _Part) -> Check:
    def check(hits: Hits, rows: NDArray[np.intp]) -> Bools:
        mask = np.uint64((1 << first.bits) - 1)
        no: Bools = first.of(hits, rows) != second.of(hits, rows) & mask
        return no

    return check


def _extended(first: _Part, second: _Part, signed: bool) -> Check:
    def check(hits: Hits, rows: NDArray[np.intp]) -> Bools:
        value = second.of(hits, rows)
        if signed:
            sign = np.uint64(1 << second.bits - 1)
            value = (value ^ sign) - sign
        no: Bools = first.of(hits, rows) != value & np.uint64((1 << first.bits) - 1)
        return no

    return check


def _address(first: _Part, base: int | None, index: int | None, instruction: Any) -> Check:
    scale, displacement = (
        np.uint64(instruction.memory_index_scale),
        np.uint64(instruction.memory_displacement),
    )

    def check(hits: Hits, rows: NDArray[np.intp]) -> Bools:
        value = np.full(len(rows), displacement)
        if base is not None:
            value = value + hits.matrix[base][rows]
        if index is not None:
            value = value + hits.matrix[index][rows] * scale
        no: Bools = first.of(hits, rows) != value & np.uint64((1 << first.bits) - 1)
        return no

    return check


def _flag(hits: Hits, rows: NDArray[np.intp], bit: int) -> Bools:
    flag: Bools = hits.matrix[FLAGS][rows] >> np.uint64(bit) & np.uint64(1) != 0
    return flag


def _zero_and_sign(value: Words, bits: int, hits: Hits, rows: NDArray[np.intp]) -> Bools:
    value = value & np.uint64((1 << bits) - 1)
    sign = value >> np.uint64(bits - 1) != 0
    wrong: Bools = ((value == 0) != _flag(hits, rows, 6)) | (sign != _flag(hits, rows, 7))
    return wrong


def _compared(first: _Part, second: _Part) -> Check:
    def check(hits: Hits, rows: NDArray[np.intp]) -> Bools:
        left, right = first.of(hits, rows), second.of(hits, rows) & np.uint64((1 << first.bits) - 1)
        no: Bools = _zero_and_sign(left - right, first.bits, hits, rows) | (
            (left < right) != _flag(hits, rows, 0)
        )
        return no

    return check


def _tested(first: _Part, second: _Part) -> Check:
    def check(hits: Hits, rows: NDArray[np.intp]) -> Bools:
        value = first.of(hits, rows) & second.of(hits, rows)
        no: Bools = _zero_and_sign(value, first.bits, hits, rows) | _flag(hits, rows, 0)
        return no

    return check


def _result(first: _Part, logic: bool) -> Check:
    def check(hits: Hits, rows: NDArray[np.intp]) -> Bools:
        wrong = _zero_and_sign(first.of(hits, rows), first.bits, hits, rows)
        no: Bools = wrong | _flag(hits, rows, 0) | _flag(hits, rows, 11) if logic else wrong
        return no

    return check


def _negated(first: _Part) -> Check:
    def check(hits: Hits, rows: NDArray[np.intp]) -> Bools:
        no: Bools = (first.of(hits, rows) != 0) != _flag(hits, rows, 0)
        return no

    return check


def _carried(first: _Part, second: _Part, subtracts: bool) -> Check:
    def check(hits: Hits, rows: NDArray[np.intp]) -> Bools:
        mask = np.uint64((1 << first.bits) - 1)
        result, other = first.of(hits, rows), second.of(hits, rows) & mask
        carry = (result + other & mask) < other if subtracts else result < other
        no: Bools = carry != _flag(hits, rows, 0)
        return no

    return check
