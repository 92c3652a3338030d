"""What a register is known to hold between a call and its returns, and what the jumps that were passed say of it.

A sum of a register before the call and a constant (`lea rdi, [r13+16]`, `mov rax, rdi`), or of what some instruction put there.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from symbols.accesses import RSP

__all__ = ["CONSTANT", "LOW", "MASK", "Passed", "State", "Sum", "added", "kept_bits", "on_stack", "plus"]

MASK: Final = (1 << 64) - 1
CONSTANT: Final = -1
"""The base of a plain number."""
_MOST_PASSED: Final = 24
LOW: Final = 16
"""Added to a register's number in `State.nonzero`: its low 32 bits."""
_EQUAL, _UNEQUAL = 4, 5  # the low bits of the opcodes of je and jne


class Sum(NamedTuple):
    """base + offset + other, of which the bits in `keep` are left. A base is a register before the call, CONSTANT, or what an
    instruction put there; `other` is one, too, CONSTANT for none."""

    base: int
    offset: int
    keep: int = MASK
    other: int = CONSTANT

    def of(self, low: int, high: int) -> bool:
        """Whether one of its bases is among low to high."""
        return low <= self.base < high or low <= self.other < high


class Passed(NamedTuple):
    """A conditional jump that was `taken` or not behind a comparison of two sums; `tests`: by TEST, not CMP."""

    tests: bool
    left: Sum
    right: Sum
    bits: int
    code: int
    taken: bool


class State:
    """Registers, those that are not 0 (`nonzero`: by number, and by number + LOW where the low half is not), pushed words by their distance from rsp before the call, the comparison that set the flags,
    jumps passed."""

    __slots__ = ("bounds", "flags", "nonzero", "passed", "pushed", "registers")

    def __init__(self, registers: list[Sum | None]) -> None:
        self.registers = registers
        self.bounds: dict[
            int, int
        ] = {}  # of bases, shared by all states of an analysis: the most they can be
        self.pushed: dict[int, Sum | None] = {}
        self.flags: tuple[bool, Sum, Sum, int] | None = None
        self.passed: frozenset[Passed] = frozenset()
        self.nonzero: frozenset[int] = frozenset()

    def copy(self) -> State:
        new = State(self.registers.copy())
        new.pushed, new.flags, new.passed = self.pushed.copy(), self.flags, self.passed
        new.bounds, new.nonzero = self.bounds, self.nonzero
        return new

    def meet(self, other: State) -> bool:
        """Keep what both say; whether anything went."""
        changed = False
        mine_sure, theirs_sure = self._sure(), other._sure()
        for column, (mine, theirs) in enumerate(zip(self.registers, other.registers, strict=True)):
            if mine is not None and mine != theirs:
                self.registers[column] = None
                changed = True
        kept = {at: word for at, word in self.pushed.items() if other.pushed.get(at) == word}
        changed |= len(kept) != len(self.pushed)
        self.pushed = kept
        if self.flags is not None and self.flags != other.flags:
            self.flags, changed = None, True
        both = self.passed & other.passed
        changed |= len(both) != len(self.passed)
        self.passed = both
        sure = mine_sure & theirs_sure
        changed |= len(sure) != len(mine_sure)
        self.nonzero = sure
        return changed

    def learn(self, passed: Passed) -> None:
        """A conditional jump was passed."""
        if len(self.passed) < _MOST_PASSED:
            self.passed |= {passed}
        against_zero = passed.left == passed.right if passed.tests else passed.right == Sum(CONSTANT, 0)
        if against_zero and passed.code in (_EQUAL, _UNEQUAL) and (passed.code == _UNEQUAL) == passed.taken:
            low = (1 << passed.bits) - 1
            tested = kept_bits(passed.left, low)
            same = {column for column, value in enumerate(self.registers) if kept_bits(value, low) == tested}
            self.nonzero |= same | ({column + LOW for column in same} if passed.bits <= 32 else set())

    def _sure(self) -> frozenset[int]:
        """`nonzero` with the registers that hold constants."""
        constants = [
            (column, value.offset & value.keep)
            for column, value in enumerate(self.registers)
            if value is not None and value.base == value.other == CONSTANT
        ]
        whole = {column for column, value in constants if value}
        return self.nonzero | whole | {column + LOW for column, value in constants if value & 0xFFFF_FFFF}

    def forget(self, low: int, high: int) -> None:
        """The instruction whose results are bases low to high runs again: what it left the last time means them no more."""
        for column, value in enumerate(self.registers):
            if value is not None and value.of(low, high):
                self.registers[column] = None
        self.pushed = {at: word for at, word in self.pushed.items() if word is None or not word.of(low, high)}
        if self.flags is not None and (self.flags[1].of(low, high) or self.flags[2].of(low, high)):
            self.flags = None
        if any(each.left.of(low, high) or each.right.of(low, high) for each in self.passed):
            self.passed = frozenset(
                each for each in self.passed if not (each.left.of(low, high) or each.right.of(low, high))
            )


def plus(value: Sum | None, amount: int) -> Sum | None:
    if value is None or value.keep != MASK:
        return None
    return value._replace(offset=value.offset + amount & MASK)


def added(one: Sum | None, other: Sum | None, bits: int = 64) -> Sum | None:
    """So many low bits of the sum of two sums, which have them all; None where that is no sum."""
    low = (1 << bits) - 1
    if one is None or other is None or one.keep & other.keep & low != low:
        return None
    bases = [base for base in (one.base, one.other, other.base, other.other) if base != CONSTANT]
    if len(bases) > 2:
        return None
    bases += [CONSTANT] * (2 - len(bases))
    return Sum(bases[0], one.offset + other.offset & MASK, low, bases[1])


def on_stack(value: Sum | None) -> bool:
    return value is not None and value.base == RSP and value.keep == MASK and value.other == CONSTANT


def kept_bits(value: Sum | None, keep: int) -> Sum | None:
    """A sum of which fewer bits are left."""
    if value is None:
        return None
    if value.base == value.other == CONSTANT:
        return Sum(CONSTANT, value.offset & value.keep & keep)
    return value._replace(keep=value.keep & keep)
