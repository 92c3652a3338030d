"""Hits counted by what they have in common: instruction, task, value, stack or CPU; bounded, and kept up as they come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tui.app.hit_index import places_of

if TYPE_CHECKING:
    from backends.ring_reader import RingReader
    from tui.app.hit_filter import Filter
    from tui.app.hit_index import SceneTexts

__all__ = ["GROUPS", "MOST", "Group", "GroupCounter"]

GROUPS: Final = {
    "site": ("insn_ip", "ip"),
    "task": ("tid",),
    "value": ("value", "value_from"),
    "stack": ("stack",),
    "CPU": ("cpu",),
}
"""What hits can be grouped by, and the fields of the ring that say it."""

MOST: Final = 65_536
"""Groups that are told apart; hits of further ones are counted together."""

_SLICE: Final = 16_384


class Group(NamedTuple):
    """`first` and `last` are numbers of hits (from 0)."""

    key: int
    hits: int
    first: int
    last: int


class GroupCounter:
    """Counts from the oldest hit that the ring had when it began; what is overwritten later stays counted."""

    def __init__(self, by: str, wanted: Filter | None, texts: SceneTexts) -> None:
        self.by = by
        self.filter = wanted
        self._texts = texts
        self.restart()

    def restart(self) -> None:
        """Count anew."""
        self._keys = np.empty(0, np.uint64)
        self._counts = np.empty((0, 3), np.int64)
        self.since = self._to = -1
        self.counted = self.others = self.missed = 0

    def __len__(self) -> int:
        return len(self._keys)

    def work(self, ring: RingReader, seconds: float) -> bool:
        """Count further, for about so long. Whether nothing is left."""
        end = time.perf_counter() + seconds
        if self.filter is not None and self.filter.named and self._texts.changed():
            self.restart()
        if self._to < 0:
            self.since = self._to = ring.first
        while self._to < (head := ring.head):
            first = max(self._to, ring.first)
            self.missed += first - self._to
            self._to = min(first + _SLICE, head)
            self._count(ring, first, self._to - first)
            if time.perf_counter() >= end:
                return self._to >= head
        return True

    def top(self, order: str, count: int, first: int = 0) -> list[Group]:
        """Groups in order of "count", "key" or "last", the largest, the smallest, the latest first."""
        if order == "key":
            chosen = np.arange(len(self._keys))
        else:
            chosen = np.argsort(-self._counts[:, 0 if order == "count" else 2], kind="stable")
        return [
            Group(int(self._keys[at]), *map(int, self._counts[at])) for at in chosen[first : first + count]
        ]

    def _count(self, ring: RingReader, first: int, count: int) -> None:
        names = {*GROUPS[self.by], *(self.filter.columns if self.filter else ())}
        start, columns = ring.columns(first, count, names)
        self.missed += start - first
        field = GROUPS[self.by][0]
        keys = (places_of(columns) if self.by == "site" else columns[field]).astype(np.uint64)
        mask = self.filter.mask(columns, self._texts) if self.filter else np.ones(len(keys), np.bool_)
        if self.by == "value":
            mask &= columns["value_from"] != 0
        chosen = np.flatnonzero(mask)
        if not len(chosen):
            return
        self.counted += len(chosen)
        found, firsts, counts = np.unique(keys[chosen], return_index=True, return_counts=True)
        lasts = len(chosen) - 1 - np.unique(keys[chosen][::-1], return_index=True)[1]
        new = np.column_stack([counts, chosen[firsts] + start, chosen[lasts] + start]).astype(np.int64)
        self._merge(found, new)

    def _merge(
        self,
        keys: np.ndarray[tuple[int], np.dtype[np.uint64]],
        new: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    ) -> None:
        at = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), np.bool_)
        if len(self._keys):
            known = self._keys[np.minimum(at, len(self._keys) - 1)] == keys
        self._counts[at[known], 0] += new[known, 0]
        self._counts[at[known], 2] = new[known, 2]
        strange = np.flatnonzero(~known)
        room = MOST - len(self._keys)
        self.others += int(new[strange[room:], 0].sum())
        strange = strange[:room]
        if len(strange):
            self._keys = np.insert(self._keys, at[strange], keys[strange])
            self._counts = np.insert(self._counts, at[strange], new[strange], axis=0)
