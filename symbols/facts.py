"""What holds at one return of a call, whichever way led there: held against the registers behind it, it may rule it out.

What nothing contradicts may still not have been the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from symbols.accesses import FLAGS, RSP
from symbols.sums import CONSTANT, LOW, MASK, Passed, State, Sum, on_stack
from symbols.verdict import Hits, condition

__all__ = ["Facts", "facts_of"]

Words = NDArray[np.uint64]
Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

_RED_ZONE: Final = 16
"""Words below rsp that no signal handler touches (psABI 3.2.2)."""


class Facts(NamedTuple):
    """At one return: the registers as sums, and the jumps passed. None for `registers`: it cannot be reached. `bounds` says of bases
    that are small what they are at most. `pushed`: words that were pushed, by how many words below rsp they lie now."""

    registers: tuple[Sum | None, ...] | None
    passed: tuple[Passed, ...]
    bounds: Mapping[int, int]
    nonzero: frozenset[int]
    pushed: tuple[tuple[int, Sum], ...]

    def contradicted(self, hits: Hits, rows: Rows) -> Bools:
        """Where the registers behind the return say that it was not this one."""
        if self.registers is None:
            return np.ones(len(rows), bool)
        out = np.zeros(len(rows), bool)
        if not hits.have[: FLAGS + 1].all():
            return out
        known: dict[int, tuple[Words | np.uint64, int]] = {CONSTANT: (np.uint64(0), 64)}
        # What says most of its base comes first; what adds two bases, last.
        order = sorted(
            (value.other != CONSTANT, -_low(value.keep), column)
            for column, value in enumerate(self.registers)
            if value is not None
        )
        for _, _, column in order:
            value = self.registers[column]
            assert value is not None
            have = hits.matrix[column][rows]
            if column == RSP:
                have = have - np.uint64(8)  # as the return found it
            out |= have & ~np.uint64(value.keep) != 0
            if value.other != CONSTANT:
                out |= self._added(value, have, known)
                continue
            out |= self._beyond(value.base, value, have)
            if value.base in known:
                base, width = known[value.base]
                sure = np.uint64(value.keep & (1 << width) - 1)
                out |= (have ^ (base + np.uint64(value.offset))) & sure != 0
            elif bits := _low(value.keep):
                known[value.base] = have - np.uint64(value.offset) & _mask(bits), bits
        for column in self.nonzero:
            value = hits.matrix[column % LOW][rows]
            out |= (value if column < LOW else value & _mask(32)) == 0
        for place, value in self.pushed if hits.below is not None else ():
            word = (
                _evaluated(value, known, 64)
                if hits.below is not None and place < hits.below.shape[1]
                else None
            )
            if word is not None and hits.below is not None:
                out |= (hits.below[rows, place] != word) & hits.have_below[rows]
        for each in self.passed:
            left, right = _evaluated(each.left, known, each.bits), _evaluated(each.right, known, each.bits)
            if left is not None and right is not None:
                out |= _met(left, right, each, len(rows)) != each.taken
        return out

    def _beyond(self, base: int, value: Sum, have: Any) -> Any:
        """Where a base that is small would not be."""
        most = self.bounds.get(base)
        if most is None or value.keep != MASK:
            return False
        return have - np.uint64(value.offset) > np.uint64(most)

    def _added(self, value: Sum, have: Any, known: dict[int, tuple[Words | np.uint64, int]]) -> Any:
        """Where a sum of two bases is not one: both are known, or one, and the other is small. One that is not known becomes so."""
        bits = _low(value.keep)
        if not bits or value.keep != (1 << bits) - 1:
            return False
        for one, other in ((value.base, value.other), (value.other, value.base)):
            if one not in known or known[one][1] < bits:
                continue
            rest = have - known[one][0] - np.uint64(value.offset) & _mask(bits)
            if other in known and known[other][1] >= bits:
                return rest != known[other][0] & _mask(bits)
            known.setdefault(other, (rest, bits))
            most = self.bounds.get(other, MASK)
            return rest > np.uint64(most) if most <= value.keep else False
        return False


def _low(keep: int) -> int:
    """How many low bits are kept without a gap."""
    return (~keep & keep + 1).bit_length() - 1 if keep != MASK else 64


def _mask(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _evaluated(
    value: Sum, known: dict[int, tuple[Words | np.uint64, int]], bits: int
) -> Words | np.uint64 | None:
    """The low bits of a sum; None where they are not known."""
    if value.base not in known or value.other not in known:
        return None
    keep = value.keep & (1 << bits) - 1
    (base, width), (other, also) = known[value.base], known[value.other]
    if keep >> min(width, also):
        return None
    found: Words | np.uint64 = base + other + np.uint64(value.offset) & np.uint64(keep)
    return found


def _met(left: Any, right: Any, passed: Passed, count: int) -> Bools:
    """Whether the condition holds behind the comparison (SDM 2, CMP, TEST, Jcc)."""
    mask, top, one = _mask(passed.bits), np.uint64(passed.bits - 1), np.uint64(1)
    left, right = np.broadcast_to(left, count), np.broadcast_to(right, count)
    result = left & right if passed.tests else left - right & mask
    flags = (result == 0).astype(np.uint64) << np.uint64(6) | (result >> top & one) << np.uint64(7)
    low = result & np.uint64(0xFF)
    for shift in (4, 2, 1):
        low = low ^ low >> np.uint64(shift)
    flags |= (low & one ^ one) << np.uint64(2)
    if not passed.tests:
        flags |= (left < right).astype(np.uint64)
        flags |= (((left ^ right) & (left ^ result)) >> top & one) << np.uint64(11)
    met: Bools = condition(np.full(count, passed.code, np.uint8), flags) != 0
    return met


def facts_of(state: State | None) -> Facts:
    """What a state at a return says."""
    if state is None:
        return Facts(None, (), {}, frozenset(), ())
    stack, pushed = state.registers[RSP], []
    if stack is not None and on_stack(stack):
        for at, word in state.pushed.items():
            place = (stack.offset - at & MASK) >> 3  # 0: what the return has popped
            if word is not None and 0 < place < _RED_ZONE and not stack.offset - at & 7:
                pushed.append((place, word))
    return Facts(
        tuple(state.registers),
        tuple(sorted(state.passed)),
        state.bounds,
        state.nonzero,
        tuple(sorted(pushed)),
    )
