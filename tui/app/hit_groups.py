"""Hits counted by what they have in common: instruction, task, value, stack or CPU; bounded, and kept up as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tui.app.hit_index import places_of
from tui.app.ring_walk import RingWalk

if TYPE_CHECKING:
    import numpy.typing as npt

    from backends.ring_reader import RingReader
    from tui.app.hit_filter import Columns, Filter
    from tui.app.hit_index import SceneTexts

__all__ = ["GROUPS", "MOST", "Group", "GroupCounter", "Tally"]

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


class Group(NamedTuple):
    """`first` and `last` are numbers of hits (from 0)."""

    key: int
    hits: int
    first: int
    last: int


class Tally:
    """How often each key came, with the numbers of its first and last hit; at most `MOST` keys."""

    def __init__(self) -> None:
        self._keys: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._counts: npt.NDArray[np.int64] = np.empty((0, 3), np.int64)
        self.counted = 0
        self.others = 0
        """Hits of keys beyond the bound."""

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, keys: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int64]) -> None:
        """The keys of hits, and the hits' numbers, ascending."""
        if not len(keys):
            return
        self.counted += len(keys)
        found, firsts, counts = np.unique(keys, return_index=True, return_counts=True)
        lasts = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
        new = np.column_stack([counts, numbers[firsts], numbers[lasts]]).astype(np.int64)
        at = np.searchsorted(self._keys, found)
        known = np.zeros(len(found), np.bool_)
        if len(self._keys):
            known = self._keys[np.minimum(at, len(self._keys) - 1)] == found
        self._counts[at[known], 0] += new[known, 0]
        self._counts[at[known], 2] = new[known, 2]
        strange = np.flatnonzero(~known)
        room = MOST - len(self._keys)
        self.others += int(new[strange[room:], 0].sum())
        strange = strange[:room]
        if len(strange):
            self._keys = np.insert(self._keys, at[strange], found[strange])
            self._counts = np.insert(self._counts, at[strange], new[strange], axis=0)

    def top(self, order: str, count: int, first: int = 0) -> list[Group]:
        """Groups in order of "count", "key" or "last": most hits, smallest key, latest hit first."""
        if order == "key":
            chosen = np.arange(len(self._keys))
        else:
            chosen = np.argsort(-self._counts[:, 0 if order == "count" else 2], kind="stable")
        return self._groups(chosen[first : first + count])

    def between(self, low: int, high: int) -> list[Group]:
        """Groups whose keys lie from `low` up to, not including, `high`; most hits first."""
        start, end = (int(at) for at in np.searchsorted(self._keys, np.array([low, high], np.uint64)))
        chosen = start + np.argsort(-self._counts[start:end, 0], kind="stable")
        return self._groups(chosen)

    def _groups(self, chosen: npt.NDArray[np.int64]) -> list[Group]:
        return [Group(int(self._keys[at]), *map(int, self._counts[at])) for at in chosen]


class GroupCounter(RingWalk):
    """Hits by one of `GROUPS`, those that a filter wants."""

    def __init__(self, by: str, wanted: Filter | None, texts: SceneTexts) -> None:
        super().__init__()
        self.by = by
        self.filter = wanted
        self._texts = texts
        self.tally = Tally()

    def __len__(self) -> int:
        return len(self.tally)

    def work(self, ring: RingReader, seconds: float) -> bool:
        """Count further, or anew where names that the filter asks for have changed. Whether nothing is left."""
        if self.filter is not None and self.filter.named and self._texts.changed():
            self.tally = Tally()
            self.rewind()
        return super().work(ring, seconds)

    def fields(self) -> set[str]:
        return {*GROUPS[self.by], *(self.filter.columns if self.filter else ())}

    def count(self, start: int, columns: Columns) -> None:
        field = GROUPS[self.by][0]
        keys = (places_of(columns) if self.by == "site" else columns[field]).astype(np.uint64)
        mask = self.filter.mask(columns, self._texts) if self.filter else np.ones(len(keys), np.bool_)
        if self.by == "value":
            mask &= columns["value_from"] != 0
        chosen = np.flatnonzero(mask)
        self.tally.add(keys[chosen], chosen + start)
