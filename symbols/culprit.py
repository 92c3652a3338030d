"""Which instruction made a hit, and what it wrote: told from the reported ip and the registers sampled with it.

A data breakpoint is a trap: the CPU reports the instruction *behind* the one that did it, or wherever that one went
(docs/semantics.md). Four things can have been there, and each is held against the watched window with the registers:

* the instruction that ends at ip, where boundaries come from the start of the function, swept once;
* a repeated string instruction at ip itself, while elements remain;
* at a function's first instruction, a call: found by its return address, the word at [rsp];
* for read-write windows, a `ret` or a jump through memory, where only one can have led here.

What cannot be known is 0 or marked as not known, never a guess. What an ip means is worked out once and kept, so a warm
batch is array arithmetic only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symbols.accesses import (
    COLUMNS,
    FS_BASE,
    NOTHING,
    VALUE_IMMEDIATE,
    VALUE_NONE,
    VALUE_REGISTER,
)
from symbols.arrivals import Arrival, Arrivals
from symbols.code import SOME_RETURN, Code, Data, FunctionAt, Read, Unsettled
from symbols.sites import Sites
from symbols.verdict import MAYBE, NO, YES, Hits, Verdict, judge

__all__ = ["EXECUTE", "READ_WRITE", "REGISTERS", "WRITE", "Alone", "Culprits", "Found"]

EXECUTE, WRITE, READ_WRITE = 0, 1, 3
"""Kinds of window: the R/W field of DR7 (SDM 3B 17.2.4)."""

REGISTERS: Final = COLUMNS
"""Names of the registers that help. All 16 general ones and rflags are worth their 136 bytes a hit: an address or a source
that was not sampled cannot be checked. `fs_base` (the thread pointer) is not in a perf sample; without it accesses to
thread-local variables are accepted by elimination only."""

_KEPT_ARRIVALS: Final = 1 << 17


class Found(NamedTuple):
    """One entry for each hit.

    `insn_ip` is 0 where it is not known. `access` is an index into `backends.ring.ACCESS_CODES`: 0 "x", 1 "r", 2 "w",
    3 "rw" where it cannot be told (a write window is always 2). `value` is the window's unsigned value after the hit where
    `value_known`, `old` the one before where `old_known`; for a read they are equal.
    """

    insn_ip: NDArray[np.uint64]
    access: NDArray[np.uint8]
    value: NDArray[np.uint64]
    value_known: NDArray[np.bool_]
    old: NDArray[np.uint64]
    old_known: NDArray[np.bool_]


class Alone(NamedTuple):
    """The one instruction, with one memory operand, that made every hit reported at an ip whose window it touches.

    The operand is `size` bytes at `displacement` + register `base` + register `indexed` * `scale` (columns of REGISTERS, None for
    none) where `known`; else its address is gone. What it stored or loaded is `register` >> `shift` + `immediate` where `valued`;
    `keeps` says that nothing of what was there before is in a register.
    """

    insn_ip: int
    access: int
    known: bool
    base: str | None
    indexed: str | None
    scale: int
    displacement: int
    size: int
    valued: bool
    register: str | None
    shift: int
    immediate: int
    keeps: bool


class Culprits:
    """The culprits of one address space, for user-mode hits.

    `read(address, size)` gives code as it is mapped; it may raise anything or give less. `function_at(address)` gives
    (start, size in bytes) of the function that holds an address, or None (`symbols.boundaries.function_at`); without it
    boundaries are found by vote. `data` says where pointers to code lie (`symbols.pointers.Pointers`); without it one that is read
    for the first time tells nothing before the next batch. None of them is trusted. Memory is bounded. `bits` is 64, or 32 for a
    program of 32 bits: of its returns none is told from the others, and what its stack has left says nothing.
    """

    def __init__(
        self,
        read: Read,
        function_at: FunctionAt = lambda address: None,
        data: Data | None = None,
        bits: Literal[32, 64] = 64,
    ) -> None:
        self._code = Code(read, function_at, data, bits)
        self._sites = Sites(self._code)
        self._arrivals = Arrivals(self._code)
        self.forget()

    def forget(self) -> None:
        """Call this when executable mappings change: what was decoded may be gone."""
        self._code.forget()
        self._sites.forget()
        self._arrivals.forget()
        self._led: dict[tuple[int, int, bool], tuple[Arrival, ...]] = {}

    def find(
        self,
        ip: ArrayLike,
        address: ArrayLike,
        length: ArrayLike,
        kind: ArrayLike,
        registers: Mapping[str, ArrayLike] | NDArray[np.void],
        top: ArrayLike | None = None,
        top_known: ArrayLike = True,
        thread: ArrayLike = 0,
        below: ArrayLike | None = None,
    ) -> Found:
        """What made each hit. Arrays of one length; a scalar stands for all of them.

        `ip`: as reported. `address`, `length` (1, 2, 4, 8 bytes) and `kind` (EXECUTE, WRITE, READ_WRITE) are the armed
        window. `registers`: by name, a mapping or a structured array with fields out of REGISTERS, as they were at the
        trap; others are ignored, missing ones cost certainty. `top` is the 8-byte word at [rsp]: without it a call is
        known to nobody (a window of 8 bytes at rsp holds it, and perf's 8 bytes of STACK_USER are it). Hits come in the
        order of time in each `thread`. `below` are words of the stack that rsp has left, one row a hit: [rsp - 8], [rsp - 16], ...:
        what a function pushed and called is still there, and tells its returns apart. They count where `top_known`.
        """
        hits = Hits(ip, address, length, kind, registers)
        if below is not None and self._code.bits == 64:
            hits.below = np.asarray(below, np.uint64).reshape(hits.count, -1)
            hits.have_below = np.broadcast_to(np.asarray(top_known, bool), hits.count)
        if self._code.full or len(self._led) > _KEPT_ARRIVALS:
            self.forget()
        elif not self._code.same_pointers():
            self._arrivals.forget()
            self._led.clear()
        self._arrivals.begin()
        if ((hits.kind == READ_WRITE) & hits.near_stack()).any():  # where a return can read
            self._code.keep()
        chosen = np.full(hits.count, -1, np.intp)
        out = Verdict.none(hits.count)
        data = hidden = np.flatnonzero(hits.kind != EXECUTE)
        if len(data):
            tops = np.zeros(hits.count, np.uint64)
            if top is not None:
                tops[:] = np.where(np.asarray(top_known, bool), np.asarray(top, np.uint64), 0)
                tops &= np.uint64((1 << self._code.bits) - 1)
            self._choose(hits, data, tops, chosen, out)
            site = self._sites.of(hits.ip[data])
            lost = data[site["returned"] & (chosen[data] <= SOME_RETURN) & (hits.kind[data] == READ_WRITE)]
            if len(lost):
                threads = np.broadcast_to(np.asarray(thread, np.uint64), hits.count)
                self._returned(hits, lost, threads, chosen, out)
            hidden = data[site["hidden"]]
        insn_ip = np.where(chosen >= 0, self._code.addresses[chosen], np.uint64(0))
        insn_ip = np.where(hits.kind == EXECUTE, hits.ip, insn_ip)
        access = np.where(chosen >= 0, out.access, np.where(hits.kind == WRITE, 2, hits.kind)).astype(
            np.uint8
        )
        insn_ip[hidden] = 0
        return Found(insn_ip, access, out.value, out.value_known, out.old, out.old_known)

    def alone(self, ip: int, kind: int) -> Alone | None:
        """Who made the data hits at this ip, where nobody else can have: `find` says the same of each hit whose window the
        operand touches. None where more than the operand has to be looked at."""
        site = self._sites.of(np.array([ip], np.uint64))[0]
        if site["before"] < 0 or site["repeated"] >= 0 or site["entry"] or site["hidden"]:
            return None
        first, second = self._code.operands[site["before"]]
        writes = bool(first["kind"] & 2)
        if not first["kind"] or second["kind"] or first["step"] or first["narrow"]:
            return None
        if FS_BASE in (first["base"], first["index"]) or (kind == WRITE and not writes):
            return None
        if not first["known"] and kind == READ_WRITE and site["jumps"]:
            return None
        source = int(first["source"])
        return Alone(
            int(self._code.addresses[site["before"]]),
            2 if writes else 1,
            bool(first["known"]),
            _column(first["base"]),
            _column(first["index"]),
            int(first["scale"]),
            int(first["displacement"]),
            int(first["size"]),
            source in (VALUE_IMMEDIATE, VALUE_REGISTER),
            _column(first["register"]) if source == VALUE_REGISTER else None,
            int(first["shift"]),
            int(first["immediate"]),
            source in (VALUE_NONE, VALUE_IMMEDIATE, VALUE_REGISTER) or not writes,
        )

    def _choose(
        self,
        hits: Hits,
        rows: NDArray[np.intp],
        tops: NDArray[np.uint64],
        chosen: NDArray[np.intp],
        out: Verdict,
    ) -> None:
        site = self._sites.of(hits.ip[rows])
        writes = hits.kind[rows] == WRITE
        on_top = hits.on_stack_top()[rows]
        before = self._judge(site["before"], hits, rows)
        sure = before.sure.copy()
        repeated = np.zeros(len(rows), np.uint8)
        some = np.flatnonzero(site["repeated"] >= 0)
        if len(some):
            there = self._judge(site["repeated"][some], hits, rows[some])
            there.sure[hits.matrix[1][rows[some]] == 0] = NO if hits.have[1] else MAYBE
            repeated[some] = there.sure
            won = some[(there.sure == YES) & (sure[some] == NO)]
            picked = np.flatnonzero(np.isin(some, won))
            chosen[rows[won]] = site["repeated"][won]
            out.put(rows[won], there.take(picked))
        # A call or a jump can have come only to a function's start, or where nothing else fits; and to read-write windows
        # by a return or by the function's own jumps.
        led = (repeated == NO) & (
            (site["entry"] & (on_top | ~writes))
            | ((sure == NO) & (on_top | ~writes))
            | ((sure == MAYBE) & site["jumps"] & ~writes)
        )
        arrived = np.zeros(len(rows), bool)
        asked = np.flatnonzero(led)
        if len(asked):
            arrived[asked] = self._arrive(hits, rows[asked], site[asked], sure[asked], tops, chosen, out)
        fell = ~site["entry"] | ~led  # from the function before only where no call can have done it
        alone = (repeated == NO) & ~arrived & (sure != NO) & fell
        mine = rows[alone]
        chosen[mine] = site["before"][alone]
        out.put(mine, before.take(alone))

    def _judge(self, numbers: NDArray[np.int32], hits: Hits, rows: NDArray[np.intp]) -> Verdict:
        out = Verdict.none(len(rows))
        real = np.flatnonzero(numbers >= 0)
        if len(real) == len(rows):
            return judge(self._code.operands[numbers], hits, rows)
        if len(real):
            out.put(real, judge(self._code.operands[numbers[real]], hits, rows[real]))
        return out

    def _arrive(
        self,
        hits: Hits,
        rows: NDArray[np.intp],
        site: NDArray[np.void],
        sure: NDArray[np.uint8],
        tops: NDArray[np.uint64],
        chosen: NDArray[np.intp],
        out: Verdict,
    ) -> NDArray[np.bool_]:
        """Look for the one thing that led here; which hits have it."""
        pairs = np.stack([hits.ip[rows], tops[rows]])
        unique, place = np.unique(pairs, axis=1, return_inverse=True)
        place = place.reshape(-1)
        known = [
            (ip, top, bool(site["entry"][i]), bool(site["returned"][i]))
            for (ip, top), i in zip(unique.T.tolist(), _first(place, unique.shape[1]), strict=True)
        ]
        doubted = (sure != NO) & ~site["entry"]
        arrived, many = self._pick(
            hits, rows, [self._candidates(*each) for each in known], place, chosen, out
        )
        some = np.flatnonzero(many & ~doubted & site["returned"])
        if len(some):
            picked, place = np.unique(place[some], return_inverse=True)
            lists = [self._candidates(*known[each], surely=True) for each in picked.tolist()]
            self._drop(rows[some], chosen, out)
            arrived[some], many[some] = self._pick(hits, rows[some], lists, place, chosen, out)
        self._drop(rows[many | (arrived & doubted)], chosen, out)
        return arrived

    def _pick(
        self,
        hits: Hits,
        rows: NDArray[np.intp],
        lists: list[tuple[Arrival, ...]],
        place: NDArray[np.intp],
        chosen: NDArray[np.intp],
        out: Verdict,
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Choose for each hit the first candidate of `lists[place]` that fits; where there is one, where there are more."""
        arrived = np.zeros(len(rows), bool)
        many = np.zeros(len(rows), bool)
        for nth in range(max(map(len, lists), default=0)):
            each = [arrivals[nth] if nth < len(arrivals) else _NOWHERE for arrivals in lists]
            numbers = np.array([arrival.number for arrival in each], np.int32)[place]
            verdict = self._judge(numbers, hits, rows)
            fits = verdict.sure != NO
            for against in {id(arrival.against): arrival.against for arrival in each}.values():
                if against is not None:
                    same = np.array([arrival.against is against for arrival in each])[place]
                    mine = np.flatnonzero(fits & same)
                    fits[mine] = ~against.contradicted(hits, rows[mine])
            many |= arrived & fits
            new = np.flatnonzero(fits & ~arrived)
            chosen[rows[new]] = numbers[new]
            out.put(rows[new], verdict.take(new))
            arrived |= fits
        return arrived, many

    @staticmethod
    def _drop(rows: NDArray[np.intp], chosen: NDArray[np.intp], out: Verdict) -> None:
        chosen[rows] = -1
        out.put(rows, Verdict.none(len(rows)))

    def _returned(
        self,
        hits: Hits,
        rows: NDArray[np.intp],
        thread: NDArray[np.uint64],
        chosen: NDArray[np.intp],
        out: Verdict,
    ) -> None:
        """Returns to behind a call through a register: the same thread's hit before, in the same window, was that call."""
        order = np.lexsort((hits.length, hits.address, thread))  # stable: in the order of the hits
        keys = np.stack([thread, hits.address, hits.length])[:, order]
        same = np.all(keys[:, 1:] == keys[:, :-1], axis=0)
        previous = np.full(hits.count, -1, np.intp)
        previous[order[1:][same]] = order[:-1][same]
        before = previous[rows]
        rows = rows[(before >= 0) & (chosen[before] >= 0) & (out.access[before] == 2)]
        if not len(rows):
            return
        before = previous[rows]
        trio = np.stack([hits.ip[rows], hits.ip[before], self._code.addresses[chosen[before]]])
        unique, place = np.unique(trio, axis=1, return_inverse=True)
        place = place.reshape(-1)
        ways = [
            (ip, entry) if self._arrivals.before(ip) == call else (0, 0)
            for ip, entry, call in unique.T.tolist()
        ]
        try:
            lists = [self._arrivals.returns_of(entry) if ip else () for ip, entry in ways]
            _, many = self._pick(hits, rows, lists, place, chosen, out)
            some = np.flatnonzero(many)
            if len(some):
                self._drop(rows[some], chosen, out)
                picked, place = np.unique(place[some], return_inverse=True)
                lists = [self._arrivals.surer(ways[each][1], ways[each][0]) for each in picked.tolist()]
                _, many[some] = self._pick(hits, rows[some], lists, place, chosen, out)
            self._drop(rows[many], chosen, out)
        except Unsettled:
            self._drop(rows, chosen, out)

    def _candidates(
        self, ip: int, top: int, entry: bool, returned: bool, *, surely: bool = False
    ) -> tuple[Arrival, ...]:
        found = self._led.get((ip, top, surely))
        if found is None:
            where, settled = self._arrivals, True
            found = where.calls(top, ip) if top else ()
            if returned:
                ways: tuple[Arrival, ...] = ()
                try:
                    if (called := where.called(ip)) is not None:
                        ways = where.surer(called, ip) if surely else where.returns_of(called)
                        settled = not (surely and where.weak(called, ip))
                except Unsettled:
                    settled = False
                found += ways or (Arrival(SOME_RETURN),)
            if not entry:
                found += where.jumps(ip)
            found = tuple({each.number: each for each in found}.values())
            if settled:
                self._led[ip, top, surely] = found
        return found


_NOWHERE: Final = Arrival(-1)


def _column(number: int) -> str | None:
    return None if number == NOTHING else COLUMNS[number]


def _first(place: NDArray[np.intp], count: int) -> list[int]:
    """The first position of each of the numbers below `count`, all of which occur."""
    first = np.zeros(count, np.intp)
    first[place[::-1]] = np.arange(len(place) - 1, -1, -1)
    return [int(each) for each in first]
