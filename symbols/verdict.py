"""Arrays of hits held against what their instructions touched: the window, the registers, the value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symbols.accesses import (
    COLUMNS,
    FLAGS,
    FS_BASE,
    NOTHING,
    RSP,
    VALUE_AND_OLD,
    VALUE_COMPARED,
    VALUE_CONDITION,
    VALUE_EXCHANGED,
    VALUE_IMMEDIATE,
    VALUE_IP,
    VALUE_REGISTER,
)

__all__ = ["MAYBE", "NO", "YES", "Hits", "Verdict", "condition", "judge"]

Words = NDArray[np.uint64]
Numbers = NDArray[np.intp]
Bools = NDArray[np.bool_]

NO, MAYBE, YES = 0, 1, 2
"""It did not touch the window; its address cannot be told any more; it did."""
_ZF, _DF = np.uint64(1 << 6), np.uint64(1 << 10)
_STACK: Final = np.uint64(1 << 20)
"""Bytes on either side of rsp."""
_TLS_ALIGNMENT: Final = 8
"""Bytes that every thread pointer is aligned to (psABI TLS: at least the alignment of a pointer)."""


def _u8(value: int) -> np.uint64:
    return np.uint64(value)


class Hits:
    """A batch. `matrix` has a row for each of COLUMNS and one of zeros; `have` says which rows were sampled."""

    def __init__(
        self,
        ip: ArrayLike,
        address: ArrayLike,
        length: ArrayLike,
        kind: ArrayLike,
        registers: Mapping[str, ArrayLike] | NDArray[np.void],
    ) -> None:
        self.ip: Words = np.atleast_1d(np.asarray(ip, np.uint64))
        count = len(self.ip)
        self.count = count
        self.address: Words = np.broadcast_to(np.asarray(address, np.uint64), count)
        self.length: Words = np.broadcast_to(np.asarray(length, np.uint64), count)
        self.kind: NDArray[np.uint8] = np.broadcast_to(np.asarray(kind, np.uint8), count)
        self.matrix = np.zeros((NOTHING + 1, count), np.uint64)
        self.have = np.zeros(NOTHING + 1, bool)
        self.have[NOTHING] = True
        names = registers.dtype.names or () if isinstance(registers, np.ndarray) else tuple(registers)
        for column, name in enumerate(COLUMNS):
            if name in names:
                self.matrix[column] = registers[name]
                self.have[column] = True
        self.flat = self.matrix.reshape(-1)
        self.below: Words | None = None
        """Words of the stack that rsp has left, the nearest first, one row a hit; they count where `have_below`."""
        self.have_below: Bools = np.zeros(count, bool)

    def register(self, columns: NDArray[np.uint8], rows: Numbers) -> Words:
        """One register of each of these hits."""
        return np.take(self.flat, columns.astype(np.intp) * self.count + rows)

    def near_stack(self) -> Bools:
        """Where the window lies on the stack, as far as that can be told from rsp."""
        if not self.have[RSP]:
            return np.zeros(self.count, bool)
        near: Bools = self.address - self.matrix[RSP] + _STACK < _STACK + _STACK
        return near

    def on_stack_top(self) -> Bools:
        """Where the window overlaps [rsp, rsp + 8): what a call would have written."""
        if not self.have[RSP]:
            return np.ones(self.count, bool)
        below: Words = self.address - self.matrix[RSP]
        above: Words = self.matrix[RSP] - self.address
        either: Bools = (below < _u8(8)) | (above < self.length)
        return either


class Verdict(NamedTuple):
    """For each hit: NO, MAYBE or YES; the access (1 "r", 2 "w", 3 "rw"); value and old where known."""

    sure: NDArray[np.uint8]
    access: NDArray[np.uint8]
    value: Words
    value_known: Bools
    old: Words
    old_known: Bools

    @classmethod
    def none(cls, count: int) -> Verdict:
        return cls(
            np.zeros(count, np.uint8),
            np.zeros(count, np.uint8),
            np.zeros(count, np.uint64),
            np.zeros(count, bool),
            np.zeros(count, np.uint64),
            np.zeros(count, bool),
        )

    def put(self, rows: Numbers | Bools, other: Verdict) -> None:
        """Take over another verdict for these hits."""
        self.sure[rows], self.access[rows] = other.sure, other.access
        self.value[rows], self.value_known[rows] = other.value, other.value_known
        self.old[rows], self.old_known[rows] = other.old, other.old_known

    def take(self, rows: Numbers | Bools) -> Verdict:
        """The verdict on these hits."""
        return Verdict(
            self.sure[rows],
            self.access[rows],
            self.value[rows],
            self.value_known[rows],
            self.old[rows],
            self.old_known[rows],
        )


def judge(operands: NDArray[np.void], hits: Hits, rows: Numbers) -> Verdict:
    """Hold `operands` (OPERAND, two for each) against the hits `rows`, one instruction for each."""
    out = Verdict.none(len(rows))
    kinds = np.zeros(len(rows), np.uint8)
    for side in (0, 1):
        column = operands[:, side]
        there = np.flatnonzero(column["kind"])
        if len(there) == len(rows):
            _judge_one(column, hits, rows, there, out, kinds)
        elif len(there):
            _judge_one(column[there], hits, rows[there], there, out, kinds)
    # Of operands that did touch the window a write decides; of those that may have, they must agree.
    out.access[:] = np.where((kinds == 3) & (out.sure == YES), 2, kinds)
    return out


def _judge_one(
    operand: NDArray[np.void],
    hits: Hits,
    rows: Numbers,
    there: Numbers,
    out: Verdict,
    kinds: NDArray[np.uint8],
) -> None:
    size = operand["size"].astype(np.uint64)
    start, known = _address(operand, hits, rows)
    window, length = hits.address[rows], hits.length[rows]
    before = window - start
    overlap = (before < size) | (start - window < length)
    kind = operand["kind"]
    fits = (kind & 2 != 0) | (hits.kind[rows] == 3)
    sure = np.where(known & overlap, YES, np.where(known, NO, MAYBE)).astype(np.uint8)
    sure[~fits] = NO
    better, same = sure > out.sure[there], sure == out.sure[there]
    access = np.where(kind == 1, 1, 2).astype(np.uint8)
    kinds[there] = np.where(
        better, access, np.where(same & (sure != NO), kinds[there] | access, kinds[there])
    )
    out.sure[there] = np.maximum(out.sure[there], sure)
    valued = np.flatnonzero((operand["source"] != 0) & (better | (same & (kind != 1))) & (sure != NO))
    # A better operand than the last one takes its value away, too.
    lost = there[better | (same & (sure != NO) & (kind != 1))]
    out.value_known[lost] = out.old_known[lost] = False
    if len(valued):
        _values(operand[valued], hits, rows[valued], there[valued], before[valued], known[valued], out)


def _address(operand: NDArray[np.void], hits: Hits, rows: Numbers) -> tuple[Words, Bools]:
    base, index = operand["base"], operand["index"]
    start = operand["displacement"] + hits.register(base, rows)
    indexed = index != NOTHING
    if indexed.any():
        start = start + hits.register(index, rows) * operand["scale"].astype(np.uint64)
    narrow = operand["narrow"]
    if narrow.any():
        start = np.where(narrow, start & _u8(0xFFFF_FFFF), start)
    step = operand["step"]
    if step.any():
        down = hits.matrix[FLAGS][rows] & _DF != 0
        start = np.where(down, start + step, start - step)
    return start, operand["known"] & hits.have[base] & hits.have[index]


def _values(
    operand: NDArray[np.void],
    hits: Hits,
    rows: Numbers,
    there: Numbers,
    before: Words,
    known: Bools,
    out: Verdict,
) -> None:
    """Where the operand holds the whole window, cut the window's bytes out of its value."""
    size, length = operand["size"].astype(np.uint64), hits.length[rows]
    # A thread's own variable without the thread's base: an aligned store overlaps the window in one way only.
    displacement = operand["displacement"]
    aligned = (
        ~known
        & (operand["index"] == FS_BASE)
        & (operand["base"] == NOTHING)
        & operand["known"]
        & (size <= _u8(_TLS_ALIGNMENT))
        & (displacement & (size - _u8(1)) == 0)
    )
    low = _u8(_TLS_ALIGNMENT - 1)
    before = np.where(aligned, (hits.address[rows] & low) - (displacement & low), before)
    covers = (known | aligned) & (size <= _u8(8)) & (before < size) & (length <= size - before)
    source = operand["source"]
    zero = hits.matrix[FLAGS][rows] & _ZF != 0
    register = hits.register(operand["register"], rows) >> operand["shift"].astype(np.uint64)
    have = hits.have[operand["register"]]
    word = np.where(
        (source == VALUE_REGISTER) | (source == VALUE_COMPARED),
        register + operand["immediate"],
        operand["immediate"],
    )
    fine = np.where(source == VALUE_IMMEDIATE, True, have)
    if (source == VALUE_CONDITION).any():
        met = condition(operand["condition"], hits.matrix[FLAGS][rows])
        word = np.where(source == VALUE_CONDITION, met, word)
    exchanged = source == VALUE_EXCHANGED
    accumulator = hits.matrix[0][rows]
    word = np.where(exchanged, np.where(zero, register, accumulator), word)
    fine &= ~exchanged | hits.have[0]
    jumped = source == VALUE_IP
    word = np.where(jumped, hits.ip[rows], word)
    fine &= hits.have[FLAGS] | ~np.isin(source, (VALUE_CONDITION, VALUE_EXCHANGED, VALUE_COMPARED))
    fine &= (source != VALUE_COMPARED) | zero
    fine &= covers
    bits = np.where(covers, before, _u8(0)) << _u8(3)
    mask = _u8(0xFFFF_FFFF_FFFF_FFFF) >> np.where(length <= _u8(8), _u8(64) - (length << _u8(3)), _u8(0))
    exchange = source == VALUE_AND_OLD
    out.value[there] = word >> bits & mask
    out.value_known[there] = fine & ~exchange
    read = operand["kind"] == 1
    old = np.where(exchange, register, np.where(exchanged, accumulator, word))
    out.old[there] = old >> bits & mask
    out.old_known[there] = fine & (exchange | exchanged | read)


def condition(code: NDArray[np.uint8], flags: Words) -> Words:
    """setcc's result (SDM 2, appendix B.1.4): the low bit of the code negates."""
    cf, pf, zf, sf, of = (flags >> _u8(bit) & _u8(1) for bit in (0, 2, 6, 7, 11))
    less = sf ^ of
    results = np.stack([of, cf, zf, cf | zf, sf, pf, less, less | zf])
    picked: Words = results[(code >> 1).astype(np.intp), np.arange(len(code))]
    return picked ^ (code & 1).astype(np.uint64)
