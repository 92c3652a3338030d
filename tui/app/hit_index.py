"""Which hits of the ring a filter lets through: looked for in slices, the newest first, and kept up as hits come.

What it keeps is bounded by the ring: numbers of matching hits, 8 bytes each, and one entry for each distinct place.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from backends.ring_reader import RingReader
    from tui.app.hit_filter import Bools, Columns, Filter
    from tui.app.scene import Scene

    Numbers = npt.NDArray[np.int64]

__all__ = ["HitIndex", "SceneTexts", "places_of"]

_CLOSE: Final = 1 << 20
_SLICE: Final = 16_384
"""Rows looked at in one go: few enough to stay in the processor's cache from one condition to the next."""


def places_of(columns: Columns) -> npt.NDArray[np.uint64]:
    """The instruction of each row: what the CPU reported where the one that did it is not known."""
    known = columns["insn_ip"]
    return known if known.all() else np.where(known != 0, known, columns["ip"])


class SceneTexts:
    """`hit_filter.Texts` from what the scene knows."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._places = np.empty(0, np.uint64)
        self._names: list[tuple[str, str] | None] = []
        self._verdicts: dict[tuple[str, bool | None], Bools] = {}
        self._tables: dict[tuple[str, str], Bools] = {}
        self._near: npt.NDArray[np.int64] | None = None
        """For each address from the first place to the last: its number."""
        self._version = -1

    def changed(self) -> bool:
        """Whether names that came meanwhile turn a verdict round that was given."""
        names = self._scene.names
        if names.version == self._version:
            return False
        self._version = names.version
        before = dict(self._verdicts)
        self._verdicts.clear()
        self._tables.clear()
        self._look_up()
        return any(not np.array_equal(verdict, self._verdict(*key)) for key, verdict in before.items())

    def places(self, columns: Columns, text: str, source: bool | None) -> Bools:
        """Rows whose instruction's name or source holds the text."""
        rows = places_of(columns)
        at = self._numbers(rows)
        strange = at < 0
        if strange.any():
            self._learn(np.unique(rows[strange]))
            at = self._numbers(rows)
        verdict: Bools = self._verdict(text, source)[at]
        return verdict

    def watches(self, columns: Columns, text: str) -> Bools:
        """Rows of watches whose label holds the text; of a watch that was moved, the label that it had then."""
        found = self._by_number("watch", columns["breakpoint"], text, self._scene.label_of)
        for number, places in self._scene.moved():
            own = columns["breakpoint"] == number
            for address, label in places.items() if own.any() else ():
                found[own & (columns["address"] == address)] = text in label.lower()
        return found

    def comms(self, columns: Columns, text: str) -> Bools:
        """Rows of threads whose name holds the text."""
        return self._by_number("comm", columns["comm"], text, self._scene.comm)

    def _by_number(
        self, what: str, column: npt.NDArray[np.unsignedinteger], text: str, name: Callable[[int], str]
    ) -> Bools:
        if not len(column):
            return np.zeros(0, np.bool_)
        key, largest = (what, text), int(column.max())
        if largest > 1 << 20:  # numbers that no machine gives out
            return np.array([text in name(int(number)).lower() for number in column], np.bool_)
        table = self._tables.get(key)
        if table is None or len(table) <= largest:
            table = np.array([text in name(number).lower() for number in range(largest + 1)], np.bool_)
            self._tables[key] = table
        found: Bools = table[column]
        return found

    def _numbers(self, rows: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Where each row's place is in `_places`, -1 where it is not. Most programs' code lies close enough for a table."""
        places = self._places
        if not len(places):
            return np.full(len(rows), -1, np.int64)
        span = int(places[-1] - places[0]) + 1
        if span > _CLOSE:
            at = np.minimum(np.searchsorted(places, rows), len(places) - 1)
            return np.where(places[at] == rows, at, -1)
        if self._near is None:
            self._near = np.full(span + 1, -1, np.int64)
            self._near[(places - places[0]).astype(np.int64)] = np.arange(len(places))
        found: npt.NDArray[np.int64] = self._near[
            np.minimum(rows - places[0], np.uint64(span)).astype(np.int64)
        ]
        return found

    def _learn(self, strange: npt.NDArray[np.uint64]) -> None:
        merged = np.union1d(self._places, strange)
        names = dict(zip(self._places.tolist(), self._names, strict=True))
        self._places = merged
        self._near = None
        self._names = [names.get(place) for place in merged.tolist()]
        self._verdicts.clear()
        self._look_up()

    def _look_up(self) -> None:
        known = self._scene.names
        for number, (place, name) in enumerate(zip(self._places.tolist(), self._names, strict=True)):
            if name is None:
                found = known.known(place)
                if found is None:
                    known.of(place)  # asks for it
                else:
                    self._names[number] = (found.symbol.lower(), found.source.lower())

    def _verdict(self, text: str, source: bool | None) -> Bools:
        key = text, source
        verdict = self._verdicts.get(key)
        if verdict is None:
            found = []
            for place, name in zip(self._places.tolist(), self._names, strict=True):
                symbol, line = name or (f"{place:#x}", "")
                found.append(
                    (source is not True and text in symbol) or (source is not False and text in line)
                )
            self._verdicts[key] = verdict = np.array(found, np.bool_)
        return verdict


class _Growing:
    """Numbers, appended in blocks. What is dropped at the front costs nothing until half of it is gone."""

    def __init__(self) -> None:
        self._room = np.empty(1024, np.int64)
        self._from = self._to = 0

    def __len__(self) -> int:
        return self._to - self._from

    @property
    def numbers(self) -> Numbers:
        """What is there, without a copy."""
        return self._room[self._from : self._to]

    def append(self, block: Numbers) -> None:
        """More at the end."""
        if self._to + len(block) > len(self._room):
            kept = self.numbers
            room = np.empty(max(1024, 2 * (len(kept) + len(block))), np.int64)
            room[: len(kept)] = kept
            self._from, self._to, self._room = 0, len(kept), room
        self._room[self._to : self._to + len(block)] = block
        self._to += len(block)

    def drop_first(self, count: int) -> None:
        """Forget so many at the front."""
        self._from += count

    def drop_last(self, count: int) -> None:
        """Forget so many at the end."""
        self._to -= count


class HitIndex:
    """Numbers of the hits that meet a filter, ascending: `older` was found walking back, `newer` as hits came."""

    def __init__(self, wanted: Filter, texts: SceneTexts) -> None:
        self.filter = wanted
        self._texts = texts
        self.restart()

    def restart(self) -> None:
        """Look at everything again."""
        self._older = _Growing()
        self._newer = _Growing()
        self._from = self._to = -1

    def __len__(self) -> int:
        return len(self._older) + len(self._newer)

    @property
    def looked_at(self) -> int:
        """Hits it has looked at and that the ring still has."""
        return max(0, self._to - self._from)

    def work(self, ring: RingReader, seconds: float) -> bool:
        """Look at more, for about so long. Whether everything that the ring has was looked at."""
        end = time.perf_counter() + seconds
        if self.filter.named and self._texts.changed():
            self.restart()
        head, first = ring.head, ring.first
        if self._to < 0 or self._to < first:
            self.restart()
            self._from = self._to = head
        self._forget(first)
        while self._to < head:
            self._newer.append(self._matches(ring, self._to, min(_SLICE, head - self._to)))
            self._to = min(self._to + _SLICE, head)
            if time.perf_counter() >= end:
                return False
        while self._from > first:
            start = max(first, self._from - _SLICE)
            self._older.append(self._matches(ring, start, self._from - start)[::-1])
            self._from = start
            if time.perf_counter() >= end:
                return self._from <= first
        return True

    def numbers(self, first: int, count: int) -> Numbers:
        """`count` of them from position `first` (0: the oldest) on."""
        older, newer = self._older.numbers, self._newer.numbers
        split = len(older)
        end = min(first + count, split + len(newer))
        first = max(0, first)
        if first >= end:
            return np.empty(0, np.int64)
        if first >= split:
            return newer[first - split : end - split].copy()
        low = older[::-1][first : min(end, split)]
        return low.copy() if end <= split else np.concatenate([low, newer[: end - split]])

    def position(self, number: int) -> int:
        """Position of the first that is not below a hit's number."""
        older, newer = self._older.numbers, self._newer.numbers
        if len(newer) and number >= newer[0]:
            return len(older) + int(np.searchsorted(newer, number))
        return int(np.searchsorted(older[::-1], number))

    def all(self) -> Numbers:
        """All of them."""
        return self.numbers(0, len(self))

    def _matches(self, ring: RingReader, first: int, count: int) -> Numbers:
        wanted = self.filter
        start, columns = ring.columns(first, count, wanted.columns)
        return np.flatnonzero(wanted.mask(columns, self._texts)) + start

    def _forget(self, first: int) -> None:
        """What the ring has overwritten is gone."""
        if self._from >= first:
            return
        self._from = first
        older = self._older.numbers
        self._older.drop_last(int(np.searchsorted(older[::-1], first)))
        if not len(self._older):
            self._newer.drop_first(int(np.searchsorted(self._newer.numbers, first)))
